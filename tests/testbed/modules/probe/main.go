// Probe is what a test puts into a pod where a shell would be handy: it serves, it asks, it leaves a message.
// It may use the standard library only, so that its image is one small static file.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

const usage = `probe serve ADDRESS TEXT    answers every request with TEXT (until it is killed)
probe get URL               prints the body; fails unless the answer is 200
probe lookup NAME           prints the addresses of NAME
probe write PATH TEXT       writes a file, e.g. /dev/termination-log
probe sleep DURATION        waits (10s, 5m)`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "serve":
		return serve(args[1], args[2])
	case len(args) == 2 && args[0] == "get":
		return get(args[1])
	case len(args) == 2 && args[0] == "lookup":
		addresses, err := net.LookupHost(args[1])
		if err != nil {
			return err
		}
		fmt.Println(strings.Join(addresses, "\n"))
		return nil
	case len(args) == 3 && args[0] == "write":
		return os.WriteFile(args[1], []byte(args[2]), 0o644)
	case len(args) == 2 && args[0] == "sleep":
		pause, err := time.ParseDuration(args[1])
		time.Sleep(pause)
		return err
	}
	return errors.New("usage:\n" + usage)
}

func serve(address, text string) error {
	answer := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, text) }
	server := &http.Server{Addr: address, Handler: http.HandlerFunc(answer), ReadHeaderTimeout: 5 * time.Second}
	return server.ListenAndServe()
}

func get(url string) error {
	client := &http.Client{Timeout: 5 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(os.Stdout, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}
