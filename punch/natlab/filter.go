package natlab

// Filter changes what the kernel answers when a command of a host sets SO_REUSEADDR or SO_REUSEPORT, so that it meets the
// sockets of systems which are not this one. Children inherit it, and nothing takes it off again.
type Filter uint8

const (
	// NoFilter is the kernel as it is.
	NoFilter Filter = iota
	// DenyReusePort has SO_REUSEPORT and what came after it fail with ENOPROTOOPT, as on Linux before 3.9: with SO_REUSEADDR
	// sockets share a port as long as none of them listens.
	DenyReusePort
	// IgnoreReusePort has SO_REUSEPORT and what came after it succeed without an effect: the option "works", and sharing a port
	// with a listener fails nevertheless, as on Wine.
	IgnoreReusePort
	// IgnoreReuse has SO_REUSEADDR succeed without an effect, too: a port has one socket at a time, whatever a program asks for.
	IgnoreReuse
)

func (f Filter) String() string {
	return name(f, "no filter", "SO_REUSEPORT denied", "SO_REUSEPORT ignored", "SO_REUSEADDR and SO_REUSEPORT ignored")
}
