package survey

// Scenario is a question that takes more than a first and a second bind, and
// this system's answer to it.
type Scenario struct {
	Name     string // short, and the same for all variants of a question
	Question string
	Variant  string // which of the ways to ask it, as options or who comes first
	Result   string // the same in every run
	Detail   string // what may differ from run to run, such as counts
	Skipped  string // why it was not tried, and what to do about it; then there is no Result
}
