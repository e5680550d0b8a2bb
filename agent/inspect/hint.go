// SPDX-License-Identifier: Apache-2.0

package inspect

import "bytes"

// hinted is what a Content-Type says.
type hinted uint8

const (
	hintNone hinted = iota
	hintJSON
	hintForm
	hintMultipart
	hintGRPC
)

// boundaryMax is the longest boundary of a multipart body (RFC 2046, 5.1.1), with room for careless ones.
const boundaryMax = 100

// hint is what a body was said to be. The boundary is valid as long as the parser's header.
type hint struct {
	kind     hinted
	boundary []byte
}

// contentType reads a Content-Type (RFC 9110, 8.3); the boundary is appended to buf.
func contentType(v, buf []byte) hint {
	kind, params := v, []byte(nil)
	if i := bytes.IndexByte(v, ';'); i >= 0 {
		kind, params = v[:i], v[i+1:]
	}
	kind = bytes.TrimSpace(kind)
	switch {
	case prefixFold(kind, "multipart/") == yes:
		b := parameter(params, "boundary")
		if len(b) == 0 || len(b) > boundaryMax {
			return hint{}
		}
		return hint{hintMultipart, append(buf[:0], b...)}
	case bytes.EqualFold(kind, []byte("application/x-www-form-urlencoded")):
		return hint{kind: hintForm}
	case prefixFold(kind, "application/grpc") == yes:
		return hint{kind: hintGRPC}
	case suffixFold(kind, "/json") || suffixFold(kind, "+json"):
		return hint{kind: hintJSON}
	}
	return hint{}
}

func suffixFold(b []byte, s string) bool {
	return len(b) >= len(s) && bytes.EqualFold(b[len(b)-len(s):], []byte(s))
}

// parameter is the value of a parameter of a header, without quotes; nil when there is none.
func parameter(params []byte, name string) []byte {
	for len(params) > 0 {
		var one []byte
		one, params = cutParameter(params)
		key, value, ok := bytes.Cut(one, []byte("="))
		if ok && bytes.EqualFold(bytes.TrimSpace(key), []byte(name)) {
			value = bytes.TrimSpace(value)
			if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
				value = value[1 : len(value)-1]
			}
			return value
		}
	}
	return nil
}

// cutParameter splits at a semicolon outside quotes.
func cutParameter(params []byte) (one, rest []byte) {
	quoted := false
	for i, c := range params {
		switch {
		case c == '"':
			quoted = !quoted
		case c == ';' && !quoted:
			return params[:i], params[i+1:]
		}
	}
	return params, nil
}

// encodings reads a Content-Encoding or Transfer-Encoding into layers, outermost first. ok is false when one of them
// is unknown.
func encodings(v []byte, to []Layer) (_ []Layer, ok bool) {
	ok = true
	first := len(to)
	for len(v) > 0 {
		var one []byte
		one, v, _ = bytes.Cut(v, []byte(","))
		one = bytes.TrimSpace(one)
		l, known := encodingLayer(one)
		switch {
		case len(one) == 0 || bytes.EqualFold(one, []byte("identity")):
		case !known:
			ok = false
		case len(to) < cap(to):
			to = append(to, l)
			copy(to[first+1:], to[first:])
			to[first] = l
		}
	}
	return to, ok
}

func encodingLayer(name []byte) (Layer, bool) {
	for _, e := range [...]struct {
		name  string
		layer Layer
	}{
		{"gzip", LayerGzip}, {"x-gzip", LayerGzip}, {"deflate", LayerDeflate}, {"br", LayerBrotli}, {"zstd", LayerZstd},
		{"chunked", LayerChunked},
	} {
		if bytes.EqualFold(name, []byte(e.name)) {
			return e.layer, true
		}
	}
	return 0, false
}
