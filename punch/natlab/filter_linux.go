package natlab

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// auditArch is how a seccomp filter knows system calls of this program's kind: the numbers are another architecture's
// otherwise. It is 0 where setsockopt may not be a system call of its own.
var auditArch = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH]

// Offsets of struct seccomp_data (linux/seccomp.h); of the arguments, 64 bits each, only the lower half counts here.
const (
	dataNumber = 0
	dataArch   = 4
	dataArg1   = 24 // setsockopt's level
	dataArg2   = 32 // its option
)

// reusePortOptions are SO_REUSEPORT and what only makes sense with it.
var reusePortOptions = []uint32{unix.SO_REUSEPORT, unix.SO_ATTACH_REUSEPORT_CBPF, unix.SO_ATTACH_REUSEPORT_EBPF, unix.SO_DETACH_REUSEPORT_BPF}

// program returns the filter's program: it lets everything pass but the options in question of setsockopt.
func (f Filter) program() []unix.SockFilter {
	options, errno := reusePortOptions, uint32(0) // a call that "fails" with 0 has succeeded
	switch f {
	case DenyReusePort:
		errno = uint32(unix.ENOPROTOOPT)
	case IgnoreReuse:
		options = append([]uint32{unix.SO_REUSEADDR}, options...)
	}
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	ret := func(action uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
	}
	const equal = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	var p []unix.SockFilter
	for _, must := range [][2]uint32{{dataArch, auditArch}, {dataNumber, unix.SYS_SETSOCKOPT}, {dataArg1, unix.SOL_SOCKET}} {
		p = append(p, load(must[0]), unix.SockFilter{Code: equal, Jt: 1, K: must[1]}, ret(unix.SECCOMP_RET_ALLOW))
	}
	p = append(p, load(dataArg2))
	for i, option := range options { // to the last instruction
		p = append(p, unix.SockFilter{Code: equal, Jt: uint8(len(options) - i), K: option})
	}
	return append(p, ret(unix.SECCOMP_RET_ALLOW), ret(unix.SECCOMP_RET_ERRNO|errno))
}

// install puts the calling thread, and what it forks, under the filter for good.
func (f Filter) install() error {
	if auditArch == 0 {
		return fmt.Errorf("natlab: commands under a filter need amd64 or arm64, this is %s", runtime.GOARCH)
	}
	// Who can get no new rights may have a filter without any.
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("natlab: renounce new rights: %w", err)
	}
	filter := f.program()
	program := &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(program)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return fmt.Errorf("natlab: install a seccomp filter: %w", errno)
	}
	return nil
}
