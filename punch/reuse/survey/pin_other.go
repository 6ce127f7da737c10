//go:build !linux

package survey

// canPin is false: this system has nothing that says which of the listeners of
// a port gets a connection.
const canPin = false

func (socket) pin() error { return errNoOption }
