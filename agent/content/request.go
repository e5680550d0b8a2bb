// SPDX-License-Identifier: Apache-2.0

package content

import (
	"bytes"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/agent/dlp"
	"github.com/holdfast-project/holdfast/agent/inspect"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/waf"
)

// Bounds of the requests that are put together at one time: how many, and how many bytes of each.
const (
	maxRequests     = 256
	maxRequestBytes = 16 << 10
	maxHeaders      = 128
)

// Request is a request that a container serves, put together again for who wants it as a whole. Of a form in parts it has the
// fields, and of the files in it the names.
type Request struct {
	waf.Request
	// Piece is the newest of the connection, without its text; Peer who sent the request, Lineage the server's, Time when it
	// ended.
	Piece   wire.Content
	Peer    dlp.Peer
	Lineage uint64
	App     string
	Time    int64
	// Size is how many bytes of text there are, Cut that there were more.
	Size int
	Cut  bool

	// text is that of the part that was added to last; parted says that the body is a form in parts.
	text   uint64
	parted bool
}

// RequestsConfig asks for whole requests.
type RequestsConfig struct {
	// Wanted says of which containers, by their cgroup. Nil: of none.
	Wanted func(cgroup uint64) bool
	// Take takes each when it has ended, unless the filter has hits in it. It must not wait; the request is its own.
	Take func(*Request)
}

// requests are those under way, by message.
type requests struct {
	cfg  RequestsConfig
	open map[uint64]*Request
}

// boundary is that of forms in parts as they are put together.
const boundary = "holdfast-part"

func (q *requests) begin(c *inspect.Context, piece *wire.Content, counts *counts) {
	if q.cfg.Wanted == nil || c.Dir != inspect.In || !c.Inbound || c.Protocol != inspect.HTTP1 && c.Protocol != inspect.HTTP2 {
		return
	}
	if piece == nil || !q.cfg.Wanted(piece.Head.Origin) {
		return
	}
	if len(q.open) >= maxRequests {
		counts.requestsFull.Add(1)
		return
	}
	q.open[c.Message] = &Request{}
}

func (q *requests) write(c *inspect.Context, part []byte) {
	r := q.open[c.Message]
	if r == nil || slices.ContainsFunc(c.Layers, func(l inspect.Layer) bool { return l > inspect.LayerZstd }) {
		return
	}
	begun := r.text != c.TextID
	r.text = c.TextID
	switch c.Part {
	case inspect.URL:
		r.Target = append(r.Target, r.room(part)...)
	case inspect.Header, inspect.Cookie:
		if !r.parted || !ofPart(c.Name) {
			r.header(c, part, begun)
		}
	case inspect.Body:
		if !r.parted {
			r.Body = append(r.Body, r.room(part)...)
		}
	case inspect.FormField, inspect.MultipartFile:
		if r.parted {
			r.field(c, part, begun)
		}
	}
}

// room is what of a part there is room for.
func (r *Request) room(part []byte) []byte {
	if most := maxRequestBytes - r.Size; len(part) > most {
		part, r.Cut = part[:max(most, 0)], true
	}
	r.Size += len(part)
	return part
}

func (r *Request) header(c *inspect.Context, part []byte, begun bool) {
	if begun {
		if len(r.Headers) == maxHeaders {
			// Nor has what more of it comes a place.
			r.Cut, r.text = true, 0
			return
		}
		r.Headers = append(r.Headers, waf.Pair{Name: bytes.Clone(r.room(c.Name))})
	}
	h := &r.Headers[len(r.Headers)-1]
	h.Value = append(h.Value, r.room(part)...)
	if begun && strings.EqualFold(string(h.Name), "content-type") && len(part) >= 19 && strings.EqualFold(string(part[:19]), "multipart/form-data") {
		r.parted, h.Value = true, []byte("multipart/form-data; boundary="+boundary)
	}
}

// ofPart reports whether a header is one that parts of a form have.
func ofPart(name []byte) bool {
	return strings.EqualFold(string(name), "content-disposition") || strings.EqualFold(string(name), "content-type") ||
		strings.EqualFold(string(name), "content-transfer-encoding")
}

// field adds a field of a form in parts, and of a file its name.
func (r *Request) field(c *inspect.Context, part []byte, begun bool) {
	file := c.Part == inspect.MultipartFile
	if begun {
		quoted := strings.NewReplacer(`"`, "%22", "\r", "%0D", "\n", "%0A").Replace(string(c.Name))
		head, name := "--"+boundary+"\r\nContent-Disposition: form-data; name=\"", quoted+"\"\r\n\r\n"
		if len(r.Body) > 0 {
			head = "\r\n" + head
		}
		if file {
			name = "file\"; filename=\"" + name
		}
		r.Body = append(r.Body, r.room([]byte(head+name))...)
	}
	if !file {
		r.Body = append(r.Body, r.room(part)...)
	}
}

// struck forgets a request that the filter has hits in: somebody is told of it already.
func (q *requests) struck(message uint64, counts *counts) {
	if q.open[message] != nil {
		delete(q.open, message)
		counts.requestsStruck.Add(1)
	}
}

// end gives a request away.
func (q *requests) end(c *inspect.Context, piece *wire.Content, peer dlp.Peer) {
	r := q.open[c.Message]
	if r == nil {
		return
	}
	delete(q.open, c.Message)
	if piece == nil || len(r.Target) == 0 {
		return
	}
	r.Method, r.Host, r.Version = bytes.Clone(c.Method), bytes.Clone(c.Host), []byte("HTTP/1.1")
	if c.Protocol == inspect.HTTP2 {
		r.Version = []byte("HTTP/2.0")
	}
	if r.parted {
		r.Body = append(r.Body, "\r\n--"+boundary+"--\r\n"...)
	}
	r.Piece, r.Peer, r.Lineage, r.App, r.Time = *piece, peer, piece.Head.Origin, c.Protocol.String(), c.Time
	q.cfg.Take(r)
}
