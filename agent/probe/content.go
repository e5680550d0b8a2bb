// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/holdfast-project/holdfast/agent/sockdiag"
)

// Content says of each way that content takes whether it would be seen, and could be refused, on this kernel: in packets, and within
// TLS by library. It loads and attaches for an instant what the programs that take content need, by the way that Uprobes gives; those
// are attached only where a container asks. Refused is what the inline automaton of the detectors is certain of.
func (k *Kernel) Content() []Capability {
	list := []Capability{{
		Signal: "content", See: Yes, Block: Yes, Mechanism: "cgroup_skb egress, ingress",
		Reason: "what is in TLS is not in packets; UNIX sockets and what packet, XDP and VSOCK sockets carry are not seen; " +
			"refused is what inline detectors find in what leaves, nothing that comes",
	}}
	if err := k.resets(); err != nil {
		list[0].Reason += "; connections that were refused stay silent, they are not reset: " + err.Error()
	}
	way, found := k.Uprobes()
	if lacks := k.Rights.Lacks(SysPtrace); lacks != "" {
		found = Finding{No, lacks + ": libraries are not looked for in processes"}
	}
	if err := k.packets(); err != nil {
		// The programs for both come together, or not at all.
		found = Finding{No, err.Error()}
		list[0] = Capability{Signal: "content", See: No, Block: No, Reason: err.Error()}
	}
	for _, library := range []struct{ name, functions, unseen string }{
		{
			"openssl", "SSL_write, SSL_read and their like", "copies within programs that have no symbols; what is encrypted into memory " +
				"and sent later (asyncio, Node.js) is seen, and not refused",
		},
		{"gnutls", "gnutls_record_send, gnutls_record_recv", "copies within programs that have no symbols"},
		{"nss", "PR_Write, PR_Send, PR_Read, PR_Recv of NSPR", "browsers with a copy of their own"},
		{"go", "crypto/tls Conn.Write, Conn.Read", "programs built before Go 1.18, and without a table of sections"},
	} {
		c := Capability{
			Signal: "content_" + library.name, See: found.Support, Block: found.Support,
			Mechanism: way.String() + " on " + library.functions, Reason: library.unseen,
		}
		if found.Support != Yes {
			c.Mechanism, c.Reason, c.Block = "", found.Reason, No
		}
		list = append(list, c)
	}
	return append(list, Capability{
		Signal: "content_java", See: No, Block: No,
		Reason: "the TLS of Java is in code that its virtual machine makes: its processes are listed as opaque",
	})
}

// packets says why programs for packets cannot be had, if so. A program that lets everything pass is loaded and not attached: there,
// the root cgroup, it would be in the way of all packets of the machine. Loading takes fewer rights, so these are looked at.
func (k *Kernel) packets() error {
	needs := Needs(ebpf.CGroupSKB)
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "probe_content", Type: ebpf.CGroupSKB, AttachType: ebpf.AttachCGroupInetEgress, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
	})
	if err != nil {
		return fmt.Errorf("load a program for packets: %w", k.Explain(err, needs...))
	}
	if lacks := k.Rights.Lacks(needs...); lacks != "" {
		return errors.Join(errors.New(lacks), program.Close())
	}
	return program.Close()
}

// resets says why connections cannot be ended that nothing may leave any more, if so.
func (k *Kernel) resets() error {
	// The container's network is entered for it, by the link in /proc of a process of the container.
	if lacks := k.Rights.Lacks(NetAdmin, SysAdmin, SysPtrace); lacks != "" {
		return errors.New(lacks)
	}
	return sockdiag.Supported()
}
