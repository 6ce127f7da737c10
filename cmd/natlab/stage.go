package main

import (
	"sync"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch/natlab"
)

// stage is a lab with a rendezvous server on its server host.
type stage struct {
	lab   *natlab.Lab
	url   proto.ServerURL
	close func() // also ends the agents; may be called more than once
}

// newStage makes the lab and starts the server. Close it in the end.
func newStage(cfg natlab.Config) (*stage, error) {
	lab, err := natlab.New(cfg)
	if err != nil {
		return nil, err
	}
	s := &stage{lab: lab, close: sync.OnceFunc(func() { lab.Close() })}
	if s.url, err = startHub(lab); err != nil {
		lab.Close()
		return nil, err
	}
	return s, nil
}
