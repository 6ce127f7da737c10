package authorized

import (
	"errors"
	"fmt"
	"strings"

	"github.com/peerd/peerd/proto"
)

// maxName bounds a petname, in bytes.
const maxName = 64

// CheckName returns an error unless the text can be a petname. Petnames are the
// same in upper and lower case, because ssh hands host names on in lower case.
func CheckName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("a name has 1 to %d characters", maxName)
	}
	letters := false
	for _, c := range []byte(name) {
		letters = letters || isLetter(c)
		if !isLetter(c) && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return errors.New("a name consists of letters, digits, '-', '_' and '.'")
		}
	}
	_, err := proto.ParseID(name)
	switch {
	case !letters:
		return errors.New("a name has a letter in it")
	case name[0] == '-' || name[0] == '.':
		return fmt.Errorf("a name does not begin with %q", name[0])
	case !errors.Is(err, proto.ErrIDLength) && !errors.Is(err, proto.ErrIDAlphabet):
		return errors.New("a name does not look like a peer ID")
	}
	return nil
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// NameFrom makes a petname of what a peer calls itself, perhaps its host name;
// a name of the ID where nothing is left of that.
func NameFrom(text string, id proto.ID) string {
	text, _, _ = strings.Cut(text, ".")
	text = strings.Map(func(r rune) rune {
		if r < 0x80 && (isLetter(byte(r)) || r >= '0' && r <= '9' || r == '_') {
			return r
		}
		return '-'
	}, strings.ToLower(text))
	text = strings.Trim(text, "-_")
	text = strings.Trim(text[:min(len(text), maxName/2)], "-_")
	if CheckName(text) != nil {
		return "peer-" + id.Short()
	}
	return text
}
