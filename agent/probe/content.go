// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"debug/elf"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// self is the file of this process.
const self = "/proc/self/exe"

// Content says of each way that content takes whether it would be seen on this kernel: in packets, and within TLS by library. It
// loads and attaches for an instant what the programs that take content need; those are attached only where a container asks.
func (k *Kernel) Content() []Capability {
	list := []Capability{{
		Signal: "content", See: Yes, Block: No, Mechanism: "cgroup_skb egress, ingress",
		Reason: "what is in TLS is not in packets; UNIX sockets and what packet, XDP and VSOCK sockets carry are not seen",
	}}
	err := k.Explain(loads(ebpf.CGroupSKB, ebpf.AttachCGroupInetEgress), Needs(ebpf.CGroupSKB)...)
	if err != nil {
		list[0] = Capability{Signal: "content", See: No, Block: No, Reason: err.Error()}
	}
	found := k.uprobes()
	for _, library := range []struct{ name, functions, unseen string }{
		{"openssl", "SSL_write, SSL_read and their like", "copies within programs that have no symbols"},
		{"gnutls", "gnutls_record_send, gnutls_record_recv", "copies within programs that have no symbols"},
		{"nss", "PR_Write, PR_Send, PR_Read, PR_Recv of NSPR", "browsers with a copy of their own"},
		{"go", "crypto/tls Conn.Write, Conn.Read", "programs built before Go 1.18, and without a table of sections"},
	} {
		c := Capability{
			Signal: "content_" + library.name, See: found.Support, Block: No, Mechanism: "uprobes on " + library.functions,
			Reason: library.unseen,
		}
		if found.Support != Yes {
			c.Mechanism, c.Reason = "", found.Reason
		}
		list = append(list, c)
	}
	return append(list, Capability{
		Signal: "content_java", See: No, Block: No,
		Reason: "the TLS of Java is in code that its virtual machine makes: its processes are listed as opaque",
	})
}

// loads tries a program that lets everything pass.
func loads(kind ebpf.ProgramType, attach ebpf.AttachType) error {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "probe_content", Type: kind, AttachType: attach, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
	})
	if err != nil {
		return fmt.Errorf("load a program for packets: %w", err)
	}
	return program.Close()
}

// uprobes tries one on the entry point of this program, which it has passed.
func (k *Kernel) uprobes() Finding {
	entry, err := entryOffset(self)
	if err != nil {
		return Finding{Unknown, err.Error()}
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "probe_uprobe", Type: ebpf.Kprobe, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return Finding{No, "load a program for probes: " + k.Explain(err, Needs(ebpf.Kprobe)...).Error()}
	}
	defer program.Close()
	executable, err := link.OpenExecutable(self)
	if err != nil {
		return Finding{Unknown, err.Error()}
	}
	l, err := executable.Uprobe("probe", program, &link.UprobeOptions{Address: entry})
	if err != nil {
		return Finding{No, "put a probe into a program: " + k.Explain(err, Perfmon).Error()}
	}
	if err := l.Close(); err != nil {
		return Finding{Unknown, err.Error()}
	}
	return Finding{Support: Yes}
}

// entryOffset gives the offset in the file at which a program begins.
func entryOffset(path string) (uint64, error) {
	file, err := elf.Open(path)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	defer file.Close()
	for _, p := range file.Progs {
		if p.Type == elf.PT_LOAD && file.Entry >= p.Vaddr && file.Entry-p.Vaddr < p.Filesz {
			return file.Entry - p.Vaddr + p.Off, nil
		}
	}
	return 0, errors.New(path + " has no entry point")
}
