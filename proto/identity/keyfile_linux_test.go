package identity

import "testing"

// Not even root creates files there.
func TestCreateWhereNobodyMay(t *testing.T) { checkCreateFails(t, "/proc") }
