// SPDX-License-Identifier: Apache-2.0

package inspect

import "encoding/binary"

// grpcFrames splits the body of a gRPC call into its messages: a flag, a length, and the message, compressed if the flag
// says so (gRPC over HTTP/2).
type grpcFrames struct {
	b    *body
	head [5]byte
	n    int
	left uint32
	out  consumer
	// refused says that the message at hand is not read.
	refused bool
}

func newGRPC(b *body) *grpcFrames { return &grpcFrames{b: b} }

func (g *grpcFrames) write(p []byte) {
	for len(p) > 0 {
		if g.n < len(g.head) {
			k := copy(g.head[g.n:], p)
			g.n += k
			p = p[k:]
			if g.n == len(g.head) {
				g.left, g.refused = binary.BigEndian.Uint32(g.head[1:]), false
			}
		}
		if g.n < len(g.head) {
			return
		}
		part := p[:min(uint64(len(p)), uint64(g.left))]
		p = p[len(part):]
		g.left -= uint32(len(part))
		g.content(part)
		if g.left == 0 {
			g.end(true)
		}
	}
}

// content takes bytes of a message.
func (g *grpcFrames) content(p []byte) {
	m := g.b.m
	p = m.take(p)
	if len(p) == 0 || g.refused {
		return
	}
	if g.out == nil {
		var encs []Layer
		if g.head[0]&1 != 0 && g.b.grpcEncoded {
			if g.b.grpcEncoding == layers {
				m.opaque(ReasonEncoding)
				m.f.in.stats.BadEncodings++
				g.refused = true
				return
			}
			encs = append(encs, g.b.grpcEncoding)
		}
		if g.out = m.decoded(Body, encs, hint{}); g.out == nil {
			g.refused = true
			return
		}
	}
	g.out.write(p)
}

func (g *grpcFrames) end(whole bool) {
	if g.out != nil {
		g.out.close(whole)
	}
	g.out, g.n = nil, 0
}

func (g *grpcFrames) close(whole bool) { g.end(whole && g.n == 0) }
