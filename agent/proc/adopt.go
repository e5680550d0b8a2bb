// SPDX-License-Identifier: Apache-2.0

package proc

import "github.com/holdfast-project/holdfast/agent/wire"

// Kin is what a record says of where a process comes from.
type Kin struct {
	// PPID and ParentStart name the parent that it has now: the one that forked it, or the one that took it up when that
	// ended.
	PPID        uint32
	ParentStart uint64
	// Before is what an exec took the place of, nil when that is not known. Of an image that is told by the kernel's name for
	// it alone, there is only the path.
	Before *Image
	// Runtime says that it was the container's runtime, before an exec or, of a process that is introduced, now.
	Runtime bool
}

// Existing enters a process that is told of without its fork or exec: one that was there before the agent, or that has done
// only what is listed until now. Its parent must have been entered before or is unknown. A process that is known stays as
// it is.
func (t *Table) Existing(head *wire.Head, kin Kin, image *Image) *Process {
	if p := t.live[keyOf(head)]; p != nil && !p.Stub {
		return p
	}
	p, from := t.adopt(head, kin)
	switch {
	case from != nil && t.forked(p, image, from):
		p.Image, p.Before = from.Image, from.Before
	case from != nil:
		p.Image = image
		p.Execs++
	default:
		p.Image = image
	}
	t.enter(p)
	// The runtime may be about to start it, which nobody but it knows of one that was there before the agent.
	if p.Root == p && (!kin.Runtime || image.ExecTime == 0 || image.Spaces.Mnt != p.outer) {
		p.Execs = 1
	}
	t.put(keyOf(head), p)
	return p
}

// forked reports whether a process that is introduced has what the one that it comes from runs, and not by an exec. Of
// those that were there before the agent no exec was seen in any case: of them, the arguments decide.
func (t *Table) forked(p *Process, image *Image, from *Process) bool {
	return image.ExecTime == 0 && same(image, from.Image) && (p.Start >= t.cfg.Since || image.Argv == from.Image.Argv)
}

// same reports whether two images are of one file.
func same(a, b *Image) bool {
	return a.Exe == b.Exe && a.File.Inode == b.File.Inode && a.File.Device == b.File.Device && a.File.Generation == b.File.Generation
}

// unseen enters a process that nobody has told of, as it was before the exec that is told now.
func (t *Table) unseen(head *wire.Head, kin Kin) *Process {
	p, from := t.adopt(head, kin)
	switch {
	case kin.Runtime:
		p.Execs = 0
	case kin.Before == nil:
	case from != nil && kin.Before.Exe == from.Image.Exe:
		p.Image, p.Before = from.Image, from.Before
	default:
		p.Image = kin.Before
		p.Execs++
	}
	p.Stub = p.Image == unknownImage
	t.enter(p)
	if p.Root == p && p.Image != unknownImage && !kin.Runtime {
		p.Execs = 1
	}
	t.put(keyOf(head), p)
	return p
}

// adopt makes a process, in the place of its stub if it has one: what was forked from that points at it. It belongs where
// its parent does. One whose parent is not known was started in its container, if that had begun by then, and by its
// entry point: who comes from the runtime is told of when he comes. It also gives the process that it comes from, of the
// same container; nil when there is none. The image is to be set.
func (t *Table) adopt(head *wire.Head, kin Kin) (p, from *Process) {
	k := keyOf(head)
	if p = t.live[k]; p == nil {
		p = new(Process)
	}
	*p = Process{PID: head.Tgid, Start: head.Start, Image: unknownImage, Origin: head.Origin}
	parent := t.live[key{kin.PPID, kin.ParentStart}]
	if kin.ParentStart == 0 || parent == nil || parent == p {
		root := t.roots[p.Origin]
		if root == nil || root.PID == p.PID && root.Start == p.Start || p.Start != 0 && p.Start < max(root.Start, t.cfg.Since) {
			return p, nil
		}
		p.Session, p.Root, p.Execs, p.outer = root.Session, root, max(root.Execs, 1), root.outer
		return p, root
	}
	p.Parent, p.Session, p.Root, p.Execs, p.depth, p.outer = parent, parent.Session, parent.Root, parent.Execs, parent.depth+1, parent.outer
	if p.depth > t.cfg.MaxDepth {
		t.prune(p)
	}
	if parent.Origin == p.Origin {
		from = parent
	}
	return p, from
}

// stub enters a process of which nothing is known but what the head of a record says. Stubs give way to later ones: the
// end of a process that was not told of is not told either.
func (t *Table) stub(head *wire.Head) *Process {
	switch wire.Type(head.Type) {
	case wire.TypeFlow, wire.TypeDns:
		t.stats.Owners++
	default:
		t.stats.Stubs++
	}
	p, _ := t.adopt(head, Kin{})
	p.Stub = true
	t.enter(p)
	if old := t.stubbed[t.next]; old != (key{}) {
		if q := t.live[old]; q != nil && q.Stub {
			delete(t.live, old)
		}
	}
	t.stubbed[t.next] = keyOf(head)
	t.next = (t.next + 1) % stubs
	t.put(keyOf(head), p)
	return p
}

// Describe says what a stub runs, as far as that is known without it being told of. It stays one.
func (t *Table) Describe(stub *Process, image *Image) {
	if !stub.Stub {
		return
	}
	if stub.Root != nil && stub.Root != stub && stub.Root.Image.Exe == image.Exe && image.ExecTime == 0 {
		image = stub.Root.Image
	} else if stub.Image == unknownImage && stub.Root != stub {
		stub.Execs++
	}
	stub.Image = image
}
