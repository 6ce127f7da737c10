package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/peerd/peerd/proto"
)

// childPath makes this test binary a second process that prints the ID of
// LoadOrCreate.
const childPath = "PEERD_IDENTITY_TEST_PATH"

func TestMain(m *testing.M) {
	path := os.Getenv(childPath)
	if path == "" {
		os.Exit(m.Run())
	}
	k, created, err := LoadOrCreate(path)
	if err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
	if created {
		os.Stdout.WriteString("created ")
	}
	os.Stdout.WriteString(k.ID().String())
}

func keyPath(t *testing.T) string { return filepath.Join(t.TempDir(), "state", "identity.key") }

func mustCreate(t *testing.T, path string) *Key {
	t.Helper()
	k, created, err := LoadOrCreate(path)
	if err != nil || !created {
		t.Fatalf("LoadOrCreate: created %v, %v", created, err)
	}
	return k
}

func writeKey(t *testing.T, data []byte, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "identity.key")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// noTemp fails the test if dir holds anything but the key.
func noTemp(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "identity.key" {
			t.Errorf("%s is left over", e.Name())
		}
	}
}

func TestCreateThenLoad(t *testing.T) {
	path := keyPath(t)
	k := mustCreate(t, path)
	again, created, err := LoadOrCreate(path)
	if err != nil || created || again.ID() != k.ID() {
		t.Fatalf("second LoadOrCreate: created %v, %v", created, err)
	}
	if loaded, err := Load(path); err != nil || loaded.ID() != k.ID() {
		t.Fatalf("Load: %v", err)
	}
	noTemp(t, filepath.Dir(path))
}

func TestKeyFileNamesItsID(t *testing.T) {
	path := keyPath(t)
	k := mustCreate(t, path)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(data), "\n")
	if !strings.HasPrefix(first, "# ") || !strings.Contains(first, k.ID().String()) {
		t.Errorf("first line is %q", first)
	}
}

func TestLoadMissing(t *testing.T) {
	path := keyPath(t)
	_, err := Load(path)
	if !errors.Is(err, ErrKeyMissing) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
	oneLine(t, err, path)
}

// oneLine checks what every error of this package owes to the person who reads
// it.
func oneLine(t *testing.T, err error, path string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), path) || strings.ContainsAny(err.Error(), "\r\n") {
		t.Errorf("%v: not one line that names %s", err, path)
	}
}

func pemBlock(typ string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der})
}

func ecdsaKey(t *testing.T) []byte {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestLoadCorrupt(t *testing.T) {
	k := Generate()
	good, der := encodeKey(k), encodePKCS8(k.private)
	block := pemBlock(keyPEMType, der)
	cases := map[string][]byte{
		"empty":                {},
		"text":                 []byte("hello\n"),
		"half":                 good[:len(good)/2],
		"cut before the end":   good[:len(good)-8],
		"trailing text":        append(bytes.Clone(good), "garbage"...),
		"two keys":             append(bytes.Clone(good), good...),
		"two blocks":           append(bytes.Clone(block), block...),
		"broken block, good":   append([]byte("-----BEGIN PRIVATE KEY-----\n????\n-----END PRIVATE KEY-----\n"), block...),
		"text before":          append([]byte("hello\n"), block...),
		"PEM headers":          pem.EncodeToMemory(&pem.Block{Type: keyPEMType, Headers: map[string]string{"a": "b"}, Bytes: der}),
		"wrong type":           pemBlock("EC PRIVATE KEY", der),
		"not DER":              pemBlock(keyPEMType, []byte("hello")),
		"bytes behind the DER": pemBlock(keyPEMType, append(bytes.Clone(der), 0)),
		"ECDSA":                pemBlock(keyPEMType, ecdsaKey(t)),
		"another ID's header":  bytes.Replace(good, []byte(k.ID().String()), []byte(Generate().ID().String()), 1),
		"mistyped header":      bytes.Replace(good, []byte(k.ID().String()), []byte(k.ID().String()[:55]), 1),
		"too long":             append(bytes.Clone(good), bytes.Repeat([]byte("\n"), keyMaxSize)...),
	}
	for name, data := range cases {
		t.Run(name, func(t *testing.T) {
			path := writeKey(t, data, 0o600)
			_, err := Load(path)
			if !errors.Is(err, ErrKeyCorrupt) {
				t.Fatalf("error is %v", err)
			}
			oneLine(t, err, path)
			keptByLoadOrCreate(t, path, data)
		})
	}
}

func keptByLoadOrCreate(t *testing.T, path string, data []byte) {
	t.Helper()
	if _, created, err := LoadOrCreate(path); !errors.Is(err, ErrKeyCorrupt) || created {
		t.Errorf("LoadOrCreate: created %v, %v", created, err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, data) {
		t.Errorf("the damaged file was changed: %v", err)
	}
	noTemp(t, filepath.Dir(path))
}

// Every bit of the key is covered by the header line, the encoding or both.
func TestLoadDetectsBitRot(t *testing.T) {
	k := Generate()
	good := encodeKey(k)
	for i := range good {
		for bit := range 8 {
			data := bytes.Clone(good)
			data[i] ^= 1 << bit
			if private, err := parseKey(data); err == nil && newKey(private).ID() != k.ID() {
				t.Fatalf("bit %d of byte %d: another identity without an error", bit, i)
			}
		}
	}
}

func TestLoadForeignForms(t *testing.T) {
	k := Generate()
	block := pemBlock(keyPEMType, encodePKCS8(k.private))
	for name, data := range map[string][]byte{
		"without header":     block,
		"other comments":     append([]byte("# my key\n\n# really\n"), block...),
		"CRLF line ends":     bytes.ReplaceAll(encodeKey(k), []byte("\n"), []byte("\r\n")),
		"empty lines behind": append(bytes.Clone(block), "\n\n"...),
		"no final line end":  bytes.TrimSpace(block),
	} {
		if loaded, err := Load(writeKey(t, data, 0o600)); err != nil || loaded.ID() != k.ID() {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLoadDirectory(t *testing.T) {
	path := t.TempDir()
	_, err := Load(path)
	if err == nil {
		t.Fatal("a directory was loaded")
	}
	oneLine(t, err, path)
}

func TestCreateWhereItCannot(t *testing.T) {
	file := writeKey(t, nil, 0o600)
	path := filepath.Join(file, "identity.key") // its parent is a file
	_, created, err := LoadOrCreate(path)
	if err == nil || created {
		t.Fatalf("created %v, %v", created, err)
	}
	oneLine(t, err, path)
}

func TestCreateBehindDanglingLink(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identity.key")
	if err := os.Symlink(path+".gone", path); err != nil && os.Getenv("CI") != "true" {
		t.Skip("links cannot be made here:", err)
	} else if err != nil {
		t.Fatal("links cannot be made here: ", err)
	}
	if _, created, err := LoadOrCreate(path); !errors.Is(err, ErrKeyMissing) || created {
		t.Errorf("created %v, %v", created, err)
	}
	noTemp(t, filepath.Dir(path))
}

func TestKilledBeforeInstall(t *testing.T) {
	path := keyPath(t)
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, data := range [][]byte{nil, encodeKey(Generate())} {
		if _, err := writeTemp(dir, data); err != nil { // and then the power fails
			t.Fatal(err)
		}
	}
	k := mustCreate(t, path)
	if loaded, err := Load(path); err != nil || loaded.ID() != k.ID() {
		t.Fatal(err)
	}
}

func TestKilledAfterInstall(t *testing.T) {
	path := keyPath(t)
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	want := Generate()
	temp, err := writeTemp(dir, encodeKey(want))
	if err != nil {
		t.Fatal(err)
	}
	if err := install(temp, path); err != nil { // and then the power fails
		t.Fatal(err)
	}
	if k, created, err := LoadOrCreate(path); err != nil || created || k.ID() != want.ID() {
		t.Fatalf("created %v, %v", created, err)
	}
}

func TestInstallNeverReplaces(t *testing.T) {
	installers := map[string]func(temp, path string) error{"install": install}
	addLocked(installers)
	for name, f := range installers {
		t.Run(name, func(t *testing.T) {
			path := writeKey(t, []byte("old"), 0o600)
			temp, err := writeTemp(filepath.Dir(path), []byte("new"))
			if err != nil {
				t.Fatal(err)
			}
			if err := f(temp, path); !errors.Is(err, fs.ErrExist) {
				t.Errorf("error is %v", err)
			}
			if data, _ := os.ReadFile(path); string(data) != "old" {
				t.Errorf("the file holds %q", data)
			}
			if err := f(temp, path+"2"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestConcurrentCreation(t *testing.T) {
	path := keyPath(t)
	ids := make([]proto.ID, 20)
	created := make([]bool, len(ids))
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			k, c, err := LoadOrCreate(path)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i], created[i] = k.ID(), c
		})
	}
	wg.Wait()
	oneCreator(t, ids, created)
	noTemp(t, filepath.Dir(path))
}

func oneCreator(t *testing.T, ids []proto.ID, created []bool) {
	t.Helper()
	creators := 0
	for i, id := range ids {
		if id != ids[0] {
			t.Errorf("%d has %s, 0 has %s", i, id.Short(), ids[0].Short())
		}
		if created[i] {
			creators++
		}
	}
	if creators != 1 {
		t.Errorf("%d creators", creators)
	}
}

func TestConcurrentProcesses(t *testing.T) {
	for range 5 {
		path := keyPath(t)
		children := []*exec.Cmd{child(t, path), child(t, path)}
		out := make([]bytes.Buffer, len(children))
		for i, c := range children {
			c.Stdout, c.Stderr = &out[i], os.Stderr
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
		}
		ids, created := make([]proto.ID, len(children)), make([]bool, len(children))
		for i, c := range children {
			if err := c.Wait(); err != nil {
				t.Fatal(err)
			}
			text, isCreator := strings.CutPrefix(out[i].String(), "created ")
			id, err := proto.ParseID(text)
			if err != nil {
				t.Fatal(err)
			}
			ids[i], created[i] = id, isCreator
		}
		oneCreator(t, ids, created)
	}
}

func child(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(exe)
	c.Env = append(os.Environ(), childPath+"="+path, "GORACE=atexit_sleep_ms=0")
	return c
}

func FuzzParseKey(f *testing.F) {
	f.Add(encodeKey(Generate()))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		private, err := parseKey(data)
		if err != nil {
			return
		}
		again, err := parseKey(encodeKey(newKey(private)))
		if err != nil || !again.Equal(private) {
			t.Errorf("written again: %v", err)
		}
	})
}
