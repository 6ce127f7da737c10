package stream

import "encoding/binary"

// frame is the header of a yamux frame: version, type, flags (2), stream (4),
// length (4), all big endian. The length is that of the body in a data frame,
// and a number in the others.
type frame struct {
	version byte
	kind    byte
	flags   uint16
	stream  uint32
	length  uint32
}

const frameHeader = 12

// The types of frames.
const (
	frameData   = 0
	frameWindow = 1
	framePing   = 2
	frameGoAway = 3
)

// The flags of frames.
const (
	flagSYN = 1 << iota
	flagACK
	flagFIN
	flagRST
)

func parseFrame(b []byte) frame {
	return frame{
		version: b[0], kind: b[1], flags: binary.BigEndian.Uint16(b[2:]),
		stream: binary.BigEndian.Uint32(b[4:]), length: binary.BigEndian.Uint32(b[8:]),
	}
}

// append appends the header's bytes to b.
func (f frame) append(b []byte) []byte {
	b = append(b, f.version, f.kind)
	b = binary.BigEndian.AppendUint16(b, f.flags)
	b = binary.BigEndian.AppendUint32(b, f.stream)
	return binary.BigEndian.AppendUint32(b, f.length)
}

// body returns how many bytes follow the header.
func (f frame) body() int {
	if f.kind != frameData {
		return 0
	}
	return int(f.length)
}
