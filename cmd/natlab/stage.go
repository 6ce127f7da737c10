package main

import (
	"fmt"
	"sync"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
	"github.com/peerd/peerd/punch/natlab"
	"github.com/peerd/peerd/rendezvous"
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
	key := identity.Generate()
	l, err := lab.Server.Listen(fmt.Sprintf(":%d", proto.DefaultPort))
	if err != nil {
		lab.Close()
		return nil, err
	}
	server := rendezvous.NewServer(rendezvous.ServerConfig{Key: key})
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(l) })
	return &stage{
		lab: lab,
		url: proto.ServerURL{Host: lab.Server.Addr().String(), Port: proto.DefaultPort, Key: key.ID()},
		close: sync.OnceFunc(func() {
			lab.Close() // first the peers, so that they leave nobody waiting
			server.Close()
			serving.Wait()
		}),
	}, nil
}
