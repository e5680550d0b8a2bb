// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
)

const (
	shopPort = 8080
	// shopPattern takes in what runs in the web service's namespace; a machine may have other containers.
	shopPattern = "shop/*"
)

func (d *demo) shopAddress() string {
	return netip.AddrPortFrom(d.shop.Pod.IP, shopPort).String()
}

// attack breaks in through the web service, step by step.
func (d *demo) attack(ctx context.Context) error {
	heading("The attack, through a field of the web service that ends up in a shell")
	client := &http.Client{Transport: &http.Transport{DialContext: d.rig.Lab.DialContext}, Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	for _, s := range attack() {
		fmt.Printf("   %-45s  %s\n", s.what, s.command)
		if err := inject(ctx, client, d.shopAddress(), s.command); err != nil {
			return err
		}
	}
	return d.await(ctx)
}

// await waits until each step that a rule is about has been told of.
func (d *demo) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		missing, err := d.missing(ctx)
		if err == nil && len(missing) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			if err == nil {
				err = fmt.Errorf("no alert for: %s", strings.Join(missing, "; "))
			}
			return err
		case <-tick.C:
		}
	}
}

// missing lists the steps for which no alert has come.
func (d *demo) missing(ctx context.Context) ([]string, error) {
	alerts, err := d.rig.Alerts(ctx, "--workload", shopPattern)
	if err != nil {
		return nil, err
	}
	told := map[string]int{}
	for _, a := range alerts {
		told[a.Rule]++
	}
	var missing []string
	for _, s := range attack() {
		if s.rule == "" {
			continue
		}
		if told[s.rule]--; told[s.rule] < 0 {
			missing = append(missing, s.what)
		}
	}
	return missing, nil
}

// show prints what an administrator would see.
func (d *demo) show(ctx context.Context) error {
	alerts, err := d.rig.Alerts(ctx, "--workload", shopPattern, "--rule", "Shell with*")
	if err != nil {
		return err
	}
	if len(alerts) == 0 {
		return errors.New("the alert of the shell is gone")
	}
	for _, view := range []struct {
		what string
		args []string
	}{
		{"What the administrator sees", []string{"alerts", "--workload", shopPattern}},
		{"One of them in full: who did it, from which program it came, in which container of which image", []string{"alerts", "show", alerts[0].ID}},
		{"The node: what its kernel lets the agent see, and what was lost", []string{"nodes"}},
	} {
		heading(view.what)
		fmt.Printf("$ holdfast %s\n", strings.ReplaceAll(strings.Join(view.args, " "), shopPattern, "'"+shopPattern+"'"))
		cmd := d.rig.Holdfast(ctx, view.args...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("holdfast %s: %w", view.args[0], err)
		}
	}
	fmt.Println()
	return nil
}

// stay shows collector and web service on this machine's loopback device, tells how to use them, and waits for Ctrl-C.
func (d *demo) stay(ctx context.Context) error {
	api, err := d.forward(ctx, rig.HTTPAddress)
	if err != nil {
		return err
	}
	shop, err := d.forward(ctx, d.shopAddress())
	if err != nil {
		return err
	}
	heading("It stays until Ctrl-C. In another terminal, as root")
	for _, setting := range d.rig.Environment() {
		name, value, _ := strings.Cut(setting, "=")
		if name == "HOLDFAST_ADDRESS" {
			value = api
		}
		fmt.Printf("export %s=%s\n", name, value)
	}
	bin, err := filepath.Abs(d.bin)
	if err != nil {
		return err
	}
	fmt.Printf("export PATH=$PATH:%s\n\n", bin)
	fmt.Println("holdfast alerts --follow                          # as they come")
	fmt.Println("holdfast nodes show " + rig.NodeName + "                       # each signal: seen how, or why not")
	fmt.Println("holdfast events --node " + rig.NodeName + " -w 'shop/*'         # live, from the node")
	fmt.Println("holdfast record set -w 'shop/*' -t exec,connect   # and then: holdfast events --since 5m")
	fmt.Printf("\nBreak in yourself:  curl 'http://%s/track' -G --data-urlencode 'parcel=1; cat /etc/shadow'\n\n", shop)
	select {
	case <-ctx.Done():
		fmt.Println()
		return nil
	case <-d.rig.Agent.Done():
		return fmt.Errorf("the agent ended with code %d\n%s", d.rig.Agent.Code(), d.rig.Agent.Log(10))
	case <-d.rig.Collector.Done():
		return fmt.Errorf("the collector ended with code %d\n%s", d.rig.Collector.Code(), d.rig.Collector.Log(10))
	case <-d.rig.Lab.Down():
		return errors.New("containerd has ended")
	}
}

// forward makes a listener of the lab reachable on this machine and returns where.
func (d *demo) forward(ctx context.Context, address string) (string, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("listen on this machine: %w", err)
	}
	go func() {
		_ = lab.Forward(ctx, listener, func(ctx context.Context) (net.Conn, error) {
			return d.rig.Lab.DialContext(ctx, "tcp", address)
		})
	}()
	return listener.Addr().String(), nil
}
