package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/peerd/peerd/proto"
)

// A key file is text: one line that says what it is and whose, then the key as
// PKCS#8 (RFC 8410) in one PEM block (RFC 7468):
//
//	# peerd private key of ID; whoever can read it can be that peer
//	-----BEGIN PRIVATE KEY-----
//	…
//	-----END PRIVATE KEY-----
//
// The first line is a checksum, too: a damaged key does not silently become
// another identity. A file without it, as other programs write it, is valid.
const (
	keyHeader  = "# peerd private key of "
	keyWarning = "; whoever can read it can be that peer\n"
	keyPEMType = "PRIVATE KEY"
	keyMaxSize = 4 << 10
)

// Errors of Load and LoadOrCreate. The errors that wrap them name the path and
// say what to do.
var (
	// ErrKeyMissing wraps fs.ErrNotExist.
	ErrKeyMissing = fmt.Errorf("private key missing: %w", fs.ErrNotExist)
	// ErrKeyExposed means that others than the owner may read or write the
	// file. Where files have no such modes, this one is as private as its
	// directory, which by default is the user's own, and this error does not
	// occur.
	ErrKeyExposed = errors.New("private key open to other users")
	// ErrKeyCorrupt means that the file is not exactly one key.
	ErrKeyCorrupt = errors.New("private key damaged")
)

// Load reads a key file. The error wraps ErrKeyMissing, ErrKeyExposed,
// ErrKeyCorrupt or what the system says.
func Load(path string) (*Key, error) {
	data, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	private, err := parseKey(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %v; restore it from a backup, or move it away to start over with a new ID", ErrKeyCorrupt, path, err)
	}
	return newKey(private), nil
}

func readKeyFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s; create one, or correct the path", ErrKeyMissing, path)
	}
	if err != nil {
		return nil, fmt.Errorf("private key unreadable: %w; run as its owner, or correct the path", err)
	}
	defer f.Close()
	// Of the open file, not of the path: that may have changed meanwhile.
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("private key unreadable: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a file; correct the path", ErrKeyCorrupt, path)
	}
	if exposed(info) {
		return nil, fmt.Errorf("%w: %s has mode %04o; run chmod 600 on it, or replace the key if someone may have read it", ErrKeyExposed, path, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, keyMaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("private key unreadable: %w", err)
	}
	return data, nil
}

// LoadOrCreate loads the key file, or creates it with a new key if there is
// none, together with its parent directories (mode 0700). Of several processes
// that do so at once one creates the key and all get the same; created tells
// that one. A file that exists is never overwritten, valid or not. The errors
// are those of Load and the system's.
//
// A process that is killed on the way leaves no key or the whole one, and
// perhaps a file .peerd-key-* beside it, which may be deleted.
func LoadOrCreate(path string) (k *Key, created bool, err error) {
	k, err = Load(path)
	if !errors.Is(err, ErrKeyMissing) {
		return k, false, err
	}
	err = createKeyFile(path)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, false, fmt.Errorf("private key %s cannot be created: %w; make its directory writable, or choose another path", path, err)
	}
	created = err == nil
	// The file decides, not memory: so all processes agree.
	k, err = Load(path)
	return k, created && err == nil, err
}

// createKeyFile makes a new key appear at path, complete and durable. The
// error is fs.ErrExist if something is there already.
func createKeyFile(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp, err := writeTemp(dir, encodeKey(Generate()))
	if err != nil {
		return err
	}
	err = install(temp, path)
	// After install the temporary name is a second link to the key, or gone.
	if rm := os.Remove(temp); err == nil && rm != nil && !errors.Is(rm, fs.ErrNotExist) {
		err = rm
	}
	if err != nil {
		return err
	}
	return syncDir(dir)
}

// writeTemp writes data to a new file of mode 0600 in dir and returns its path.
// It leaves no file behind if it fails.
func writeTemp(dir string, data []byte) (path string, err error) {
	f, err := os.CreateTemp(dir, ".peerd-key-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

func encodeKey(k *Key) []byte {
	block := pem.Block{Type: keyPEMType, Bytes: encodePKCS8(k.private)}
	header := keyHeader + k.ID().String() + keyWarning
	return append([]byte(header), pem.EncodeToMemory(&block)...)
}

func encodePKCS8(private ed25519.PrivateKey) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		panic(err) // fails for unknown types of keys only
	}
	return der
}

// parseKey is strict where package pem is not: it skips text before a block,
// blocks that are broken, and everything behind the first good one.
func parseKey(data []byte) (ed25519.PrivateKey, error) {
	if len(data) > keyMaxSize {
		return nil, errors.New("the file is too long")
	}
	header, _, found := bytes.Cut(data, []byte("-----BEGIN"))
	if !found {
		return nil, errors.New("no PEM block")
	}
	block, rest := pem.Decode(data[len(header):])
	if block == nil || block.Type != keyPEMType || len(block.Headers) != 0 {
		return nil, fmt.Errorf("no PEM block %q", keyPEMType)
	}
	if len(bytes.TrimSpace(rest)) != 0 || bytes.Contains(data[len(header)+1:len(data)-len(rest)], []byte("-----BEGIN")) {
		return nil, errors.New("more than one key")
	}
	private, err := parsePKCS8(block.Bytes)
	if err != nil {
		return nil, err
	}
	return private, checkHeader(string(header), proto.IDOf(private.Public().(ed25519.PublicKey)))
}

func parsePKCS8(der []byte) (ed25519.PrivateKey, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("not an Ed25519 key")
	}
	// The parser ignores what follows the key.
	if !bytes.Equal(encodePKCS8(private), der) {
		return nil, errors.New("not the standard encoding of an Ed25519 key")
	}
	return private, nil
}

// checkHeader checks the text before the key: comments only, and if one of
// them names an ID, then this one.
func checkHeader(header string, id proto.ID) error {
	for line := range strings.Lines(header) {
		line = strings.TrimSpace(line)
		if line != "" && line[0] != '#' {
			return errors.New("something else before the key")
		}
		owner, ok := strings.CutPrefix(line, keyHeader)
		owner, _, _ = strings.Cut(owner, ";")
		if ok && owner != id.String() {
			return fmt.Errorf("the key is that of %s, its first line says otherwise", id)
		}
	}
	return nil
}
