package survey

import (
	"errors"
	"fmt"

	"golang.org/x/sys/windows"
)

// System returns the operating system's name and release.
func System() string {
	v := windows.RtlGetVersion()
	return fmt.Sprintf("Windows %d.%d.%d", v.MajorVersion, v.MinorVersion, v.BuildNumber)
}

// otherUser says why no other process can be another user's.
func otherUser() string {
	return `needs another user's password; to see it, run "peerd serve" as two users at once`
}

func becomeOther() error { return errors.New(otherUser()) }
