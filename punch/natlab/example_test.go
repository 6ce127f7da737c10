package natlab_test

import (
	"context"
	"fmt"
	"log"

	"github.com/peerd/peerd/punch/natlab"
)

// A command runs on a host behind an OpenWrt router, 36 ms from the other host.
func Example() {
	router, err := natlab.ProfileByName("openwrt")
	if err != nil {
		log.Fatal(err)
	}
	lab, err := natlab.New(natlab.Config{A: router, B: router, RTT: 36e6})
	if err != nil {
		log.Fatal(err)
	}
	defer lab.Close()
	fmt.Print(lab)
	out, err := lab.A.Command(context.Background(), "ping", "-c1", lab.Server.Addr().String()).Output()
	fmt.Printf("%s %v\n", out, err)
}
