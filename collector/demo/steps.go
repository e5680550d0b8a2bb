// SPDX-License-Identifier: Apache-2.0

package demo

// Step is one step of the attack.
type Step struct {
	// What the attacker wants, and the command for a shell that does it.
	What, Command string
	// Exec says that the command comes from outside, as by kubectl exec; the others come in an order.
	Exec bool
}

// Steps are the steps of the attack, in their order. Each is something that the shop does not do by itself, and stays within
// the demo.
func Steps() []Step {
	return []Step{
		{What: "run a program that it never runs", Command: "/bin/id"},
		{What: "leave a script for later", Command: "echo id > /tmp/.x"},
		{What: "run one that was uploaded", Command: uploads + "/helper id"},
		{What: "drop a program and run it", Command: "/bin/cat " + uploads + "/helper > /tmp/.h; /bin/chmod +x /tmp/.h; /tmp/.h id"},
		{What: "read the pod's token of Kubernetes", Command: "read -r token < " + token + `; echo "${#token} characters"`},
		{What: "have it pay to somebody else", Command: `pay "$DROP" 8081`},
		{What: "open a shell in it, as kubectl exec does", Command: "/bin/hostname", Exec: true},
	}
}
