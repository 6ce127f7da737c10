package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// journal is a file of results, one line each, to which each pair is added as
// soon as it is measured. What belongs to another commit, or to another number of
// runs, does not count.
type journal struct {
	commit string
	runs   int
	file   *os.File

	mu   sync.Mutex
	done map[pairKey]pairResult
	err  error // the first of writing
}

// pairKey names a pair under a condition.
type pairKey struct {
	A, B      string
	RTT, Loss float64
}

func keyOf(c cell) pairKey { return pairKey{c.A, c.B, ms(c.RTT), c.Loss} }

// journalLine is a line of the file.
type journalLine struct {
	Commit string     `json:"commit"`
	Runs   int        `json:"runs"`
	Result pairResult `json:"result"`
}

// openJournal makes the directory and its journal, or goes on with the one that
// is there.
func openJournal(dir, commit string, runs int, resume bool) (*journal, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	j := &journal{commit: commit, runs: runs, done: make(map[pairKey]pairResult)}
	path := filepath.Join(dir, "matrix.jsonl")
	if resume {
		if err := j.read(path); err != nil {
			return nil, err
		}
	}
	var err error
	if j.file, err = os.Create(path); err != nil {
		return nil, err
	}
	for _, r := range j.done { // without what does not count, nor a line that was cut off
		j.write(r)
	}
	return j, j.err
}

// read takes what counts. The last line may have been cut off.
func (j *journal) read(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for lines := bufio.NewReader(f); ; {
		text, err := lines.ReadBytes('\n')
		if err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		var line journalLine
		if err := json.Unmarshal(text, &line); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if r := line.Result; line.Commit == j.commit && line.Runs == j.runs {
			j.done[pairKey{r.A, r.B, r.RTT, r.Loss}] = r
		}
	}
}

// add keeps a result. It is safe for concurrent use.
func (j *journal) add(r pairResult) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.done[pairKey{r.A, r.B, r.RTT, r.Loss}] = r
	j.write(r)
}

func (j *journal) write(r pairResult) {
	err := json.NewEncoder(j.file).Encode(journalLine{j.commit, j.runs, r})
	if j.err == nil {
		j.err = err
	}
}

// failed returns the first error of writing.
func (j *journal) failed() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// resultsOf returns the results of cells, in their order.
func (j *journal) resultsOf(cells []cell) (results []pairResult) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, c := range cells {
		results = append(results, j.done[keyOf(c)])
	}
	return results
}

func (j *journal) close() { j.file.Close() }
