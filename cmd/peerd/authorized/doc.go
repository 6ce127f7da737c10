// Package authorized is the file authorized_peers: which peers may connect to
// this machine, what each may do here, and how people call them. It is read like
// OpenSSH's authorized_keys; its format is described in docs/configuration.md.
//
// Whoever is not named by a good line is not authorised: a bad line, an
// unreadable file and one that other users can write grant nothing.
package authorized
