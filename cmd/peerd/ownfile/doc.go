// Package ownfile reads and writes the files by which a user decides: nobody else
// may have written them, readers see the old file or the new one but nothing in
// between, and of two programs that edit one at once neither undoes the other's
// work.
package ownfile
