// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
)

const (
	shopPort = 8080
	// stagePattern and shopPattern take in the two web services; a machine may have other containers.
	stagePattern = "shop/stage"
	shopPattern  = "shop/web"
	shopKey      = "shop/Deployment/web/webshop"
)

func address(c *lab.Container) string { return netip.AddrPortFrom(c.Pod.IP, shopPort).String() }

// watch breaks into the web service that is watched, step by step, and shows what was seen.
func (d *demo) watch(ctx context.Context) error {
	heading("An attack on a pod that is watched and no more, through a field that ends up in a shell")
	for _, s := range detected() {
		fmt.Printf("   %-45s  %s\n", s.what, s.command)
		if _, err := inject(ctx, d.client, address(d.stage), s.command); err != nil {
			return err
		}
	}
	if err := d.await(ctx, stagePattern, detected()); err != nil {
		return err
	}
	alerts, err := d.rig.Alerts(ctx, "--workload", stagePattern, "--rule", "Shell with*")
	if err != nil {
		return err
	}
	if len(alerts) == 0 {
		return errors.New("the alert of the shell is gone")
	}
	return errors.Join(
		d.holdfast(ctx, "What the administrator sees", "alerts", "--workload", stagePattern),
		d.holdfast(ctx, "One of them in full: who did it, from which program it came, in which container of which image",
			"alerts", "show", alerts[0].ID))
}

// learn shows what was learned of the other pod meanwhile.
func (d *demo) learn(ctx context.Context) error {
	return d.holdfast(ctx, "What was learned meanwhile of the other pod, which customers use", "profile", "show", shopKey)
}

// enforce keeps the other pod to what was learned, and waits until the node does.
func (d *demo) enforce(ctx context.Context) error {
	err := d.holdfast(ctx, "It is to be kept to that", "mode", "set", shopPattern, "enforce", "--reason", "learned for long enough, for a demo")
	if err != nil {
		return err
	}
	return d.until(ctx, func() error { return d.rig.InMode(ctx, shopPattern, "enforce", profile.SignalProcess) })
}

// attack attacks the pod that is kept to its profile. No step may give the attacker anything, and each must be told of.
func (d *demo) attack(ctx context.Context) error {
	heading("The attack, now on the pod that is kept to its profile")
	for _, s := range blocked() {
		answer, err := try(ctx, d.client, address(d.shop), s)
		if err != nil {
			return err
		}
		for _, loot := range []string{token, "root:", "hello from"} {
			if strings.Contains(answer, loot) {
				return fmt.Errorf("%s: the attacker got %q", s.what, answer)
			}
		}
		fmt.Printf("   %-45s  %-45s  %s\n", s.what, s.command, firstLine(answer))
	}
	if err := d.await(ctx, shopPattern, blocked()); err != nil {
		return err
	}
	if err := d.holdfast(ctx, "What was done about it", "alerts", "--workload", shopPattern); err != nil {
		return err
	}
	answered, err := d.customers.result()
	if err != nil {
		return err
	}
	fmt.Printf("\nMeanwhile customers asked %d things of this pod, and every one was answered.\n", answered)
	return nil
}

// firstLine is the first line of an answer, for a table.
func firstLine(answer string) string {
	answer = strings.TrimPrefix(answer, "<pre>")
	line, _, _ := strings.Cut(answer, "\n")
	return strings.TrimSuffix(line, "</pre>")
}

// explain shows why a deed was not allowed.
func (d *demo) explain(ctx context.Context) error {
	alerts, err := d.rig.Alerts(ctx, "--workload", shopPattern, "--rule", "Contact not in profile")
	if err != nil {
		return err
	}
	if len(alerts) == 0 {
		return errors.New("the alert of the contact is gone")
	}
	return d.holdfast(ctx, "Why one of them was not allowed, and what would allow it", "explain", alerts[0].ID)
}

// node shows the node.
func (d *demo) node(ctx context.Context) error {
	return d.holdfast(ctx, "The node: what its kernel lets the agent see, and what was lost", "nodes")
}

// await waits until each step that a rule is about has been told of.
func (d *demo) await(ctx context.Context, pattern string, steps []step) error {
	return d.until(ctx, func() error {
		alerts, err := d.rig.Alerts(ctx, "--workload", pattern)
		if err != nil {
			return err
		}
		told := map[string]int{}
		for _, a := range alerts {
			told[a.Rule]++
		}
		var missing []string
		for _, s := range steps {
			if s.rule == "" {
				continue
			}
			if told[s.rule]--; told[s.rule] < 0 {
				missing = append(missing, s.what)
			}
		}
		if len(missing) > 0 {
			return fmt.Errorf("no alert for: %s", strings.Join(missing, "; "))
		}
		return nil
	})
}

// until waits until a condition holds, and gives its last error if it does not for long.
func (d *demo) until(ctx context.Context, condition func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := condition()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// holdfast runs a command of the administrator's and shows it.
func (d *demo) holdfast(ctx context.Context, what string, args ...string) error {
	heading(what)
	shown := make([]string, len(args))
	for i, arg := range args {
		shown[i] = arg
		if strings.ContainsAny(arg, " *") {
			shown[i] = "'" + arg + "'"
		}
	}
	fmt.Printf("$ holdfast %s\n", strings.Join(shown, " "))
	cmd := d.rig.Holdfast(ctx, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("holdfast %s: %w", args[0], err)
	}
	return nil
}

// stay shows collector and web service on this machine's loopback device, tells how to use them, and waits for Ctrl-C.
func (d *demo) stay(ctx context.Context) error {
	api, err := d.forward(ctx, rig.HTTPAddress)
	if err != nil {
		return err
	}
	shop, err := d.forward(ctx, address(d.shop))
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
	fmt.Println("holdfast mode set shop/web monitor --reason 'to see what would be blocked'")
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
