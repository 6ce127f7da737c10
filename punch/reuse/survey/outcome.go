package survey

// Outcome is what became of a Case. Each step has an errno's name, such as
// EADDRINUSE, or WSAEADDRINUSE on Windows, "" for success, or NotTried.
type Outcome struct {
	// First says why the first socket could not be made at all, as a system
	// call and an errno; then nothing else was tried.
	First string

	// Bind is the second socket's. An option that cannot be set, which is how a
	// system that lacks it answers, shows as "setsockopt ENOPROTOOPT", and as
	// NoReusePort where there is not even a number to ask with.
	Bind string

	// Connect is the second socket's, to a listener on another port of its own
	// address, for wildcards and groups on loopback. For UDP nobody needs to
	// be there.
	Connect string

	// Listen is that of a third socket in place of the second, which is closed
	// by then: with the same options, and bound to the same address. If it
	// failed earlier it has a system call in front, as in "bind EADDRINUSE".
	// It is NotTried for UDP.
	Listen string
}

// NotTried is the outcome of a step that another one's failure kept from being
// tried.
const NotTried = "-"

// NoReusePort is the outcome of setting SO_REUSEPORT where x/sys and the system's
// headers do not have it.
const NoReusePort = "no SO_REUSEPORT"

// Row is a case and what became of it.
type Row struct {
	Case    Case
	Outcome Outcome
}
