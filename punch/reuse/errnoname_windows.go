package reuse

import (
	"syscall"

	"golang.org/x/sys/windows"
)

func nameOfErrno(e syscall.Errno) string { return winsockNames[e] }

// winsockNames are the errors that a dial or a bind can end with.
var winsockNames = map[syscall.Errno]string{
	windows.WSAEACCES:        "WSAEACCES",
	windows.WSAEADDRINUSE:    "WSAEADDRINUSE",
	windows.WSAEADDRNOTAVAIL: "WSAEADDRNOTAVAIL",
	windows.WSAEAFNOSUPPORT:  "WSAEAFNOSUPPORT",
	windows.WSAECONNABORTED:  "WSAECONNABORTED",
	windows.WSAECONNREFUSED:  "WSAECONNREFUSED",
	windows.WSAECONNRESET:    "WSAECONNRESET",
	windows.WSAEHOSTUNREACH:  "WSAEHOSTUNREACH",
	windows.WSAEINVAL:        "WSAEINVAL",
	windows.WSAEMFILE:        "WSAEMFILE",
	windows.WSAENETDOWN:      "WSAENETDOWN",
	windows.WSAENETUNREACH:   "WSAENETUNREACH",
	windows.WSAENOBUFS:       "WSAENOBUFS",
	windows.WSAETIMEDOUT:     "WSAETIMEDOUT",
}
