// SPDX-License-Identifier: Apache-2.0

package inspect

import "net/netip"

// Key is a connection. Plain bytes of a socket and the plaintext of a TLS session over it have different keys.
type Key struct {
	// Cookie is the kernel's socket cookie; 0 where a TLS library's call does not show the socket.
	Cookie uint64
	// TLS is 0 for bytes of a socket, else the address of the TLS object mixed with its process.
	TLS uint64
	// Process is the process of a TLS object; 0 for bytes of a socket.
	Process uint32
}

// Dir is the way of a piece as the container sees it.
type Dir uint8

// Directions.
const (
	// Out is from the container's process to its peer.
	Out Dir = iota
	// In is to the container's process.
	In
)

// Transport protocols of Piece.Protocol, as IP numbers them.
const (
	ProtocolICMP   = 1
	ProtocolTCP    = 6
	ProtocolUDP    = 17
	ProtocolICMPv6 = 58
)

// Piece is captured bytes: a packet's payload, or what a TLS library was given or gave.
type Piece struct {
	Key Key
	Dir Dir
	// Inbound says that the connection was accepted by the container's process, which makes it the server.
	Inbound bool
	// Sequence is the TCP sequence number of the first byte where Sequenced; pieces without come in order. A sequenced
	// piece without data tells where its direction begins; without such a one it begins with the first piece.
	Sequence  uint32
	Sequenced bool
	// Protocol is a transport protocol of IP. The data of ICMP begins with its type.
	Protocol              uint8
	LocalPort, RemotePort uint16
	Remote                netip.Addr
	// Time is in nanoseconds of any clock that does not go back.
	Time int64
	// Cut is how many bytes followed that were not captured.
	Cut int
	// Data is read during the call only.
	Data []byte
	// Tag comes back in Context: who it was, in the caller's terms.
	Tag uint64
}

// App is an application protocol.
type App uint8

// Application protocols. Unknown is given as it stands.
const (
	Unknown App = iota
	HTTP1
	HTTP2
	GRPC
	WebSocket
	DNS
	SMTP
	Redis
	Postgres
	MySQL
	ICMP
	OpaqueTLS
	apps
)

var appNames = [apps]string{
	"unknown", "http1", "http2", "grpc", "websocket", "dns", "smtp", "redis", "postgres", "mysql", "icmp", "opaque-tls",
}

// String is the protocol's name in lower case.
func (a App) String() string { return name(appNames[:], int(a)) }

// Part is where in a message a text stood.
type Part uint8

// Parts of messages.
const (
	// Payload is bytes of a protocol that is not taken apart.
	Payload Part = iota
	// RequestLine is a first line that is no request, or a command line of SMTP that is none.
	RequestLine
	// URL is a request's target; with a layer, decoded.
	URL
	// Header is a header's value, named by Context.Name; trailers too.
	Header
	// Cookie is the value of a Cookie or Set-Cookie header.
	Cookie
	// Body is a message's body, a message of gRPC or WebSocket, or a mail's text.
	Body
	// FormField is a parameter of a URL or form, named by Context.Name.
	FormField
	// MultipartFile is an uploaded file or a mail's attachment; Context.Name is the file's name.
	MultipartFile
	// JSONString is a string of a JSON text, named by the key before it.
	JSONString
	// Query is an SQL text.
	Query
	// Parameter is a value bound to a query.
	Parameter
	// Command is an argument of a Redis command, named by the command, or an envelope line of SMTP.
	Command
	// Row is a value that a database answered with.
	Row
	// DNSName is a name asked for or answered with.
	DNSName
	parts
)

var partNames = [parts]string{
	"payload", "request-line", "url", "header", "cookie", "body", "form-field", "file", "json-string", "query",
	"parameter", "command", "row", "dns-name",
}

// String is the part's name in lower case.
func (p Part) String() string { return name(partNames[:], int(p)) }

// Layer is something that was undone to come to a text.
type Layer uint8

// Layers. LayerLabels are the labels of a DNS name joined without their dots.
const (
	LayerChunked Layer = iota
	LayerGzip
	LayerDeflate
	LayerBrotli
	LayerZstd
	LayerBase64
	LayerBase32
	LayerHex
	LayerURL
	LayerJSON
	LayerQuotedPrintable
	LayerLabels
	layers
)

var layerNames = [layers]string{
	"chunked", "gzip", "deflate", "br", "zstd", "base64", "base32", "hex", "url", "json", "quoted-printable", "labels",
}

// String is the layer's name in lower case.
func (l Layer) String() string { return name(layerNames[:], int(l)) }

// Reason is why content was not inspected.
type Reason uint8

// Reasons of Sink.Opaque.
const (
	// ReasonTLS is a TLS session of which only the hello was seen: Context.Host is the server's name, Context.Name the
	// first protocol offered.
	ReasonTLS Reason = iota
	// ReasonEncrypted is QUIC or SSH.
	ReasonEncrypted
	// ReasonMessage is a message beyond Config.MessageBytes.
	ReasonMessage
	// ReasonHeaders is a header beyond Config.HeaderBytes, or one whose compression could not be followed.
	ReasonHeaders
	// ReasonExpansion is a compressed body beyond the bounds of expansion.
	ReasonExpansion
	// ReasonEncoding is an unknown or damaged compression.
	ReasonEncoding
	// ReasonDepth is more layers than Config.Depth.
	ReasonDepth
	// ReasonMemory is a flow or a decoder for which there was no memory.
	ReasonMemory
	// ReasonWork is a decoder that was too much work to make for the bytes that came.
	ReasonWork
	reasons
)

var reasonNames = [reasons]string{
	"tls", "encrypted", "message-size", "headers", "expansion", "encoding", "depth", "memory", "work",
}

// String is the reason's name in lower case.
func (r Reason) String() string { return name(reasonNames[:], int(r)) }

func name(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return "?"
}

// Context says where a text stands. It and its slices are valid during the call; the pointer is the same for all pieces
// of one text, and what it points to stays as it is from one piece to the next.
type Context struct {
	Key     Key
	Dir     Dir
	Inbound bool
	Tag     uint64
	// Remote is the peer; LocalPort is the container's.
	Remote    netip.AddrPort
	LocalPort uint16
	Protocol  App
	Part      Part
	// Message is the message's number, TextID the text's; both are unique in an Inspector. Pieces of texts that are
	// open at the same time may come in turn: HTTP/2 streams, a body and what is decoded from it.
	Message, TextID uint64
	// Method, Host and Path are the request's, for its response too, as far as they are known: at most 32, 255 and
	// 512 bytes. The headers before Host come without it.
	Method, Host, Path []byte
	// Name is the header's, field's or file's, at most 64 bytes.
	Name []byte
	// Layers are what was undone, outermost first.
	Layers []Layer
	// Status is the response's, or 0.
	Status int
	// Time is that of the newest piece.
	Time int64
	// State belongs to the sink: it is nil in a text's first call and kept until its last.
	State any
}

// Sink takes what is found. Its methods must not call the Inspector.
type Sink interface {
	// Begin opens a message; its Part, Name and Layers mean nothing.
	Begin(*Context)
	// Text gives consecutive bytes of one text; the last call of a text may be empty.
	Text(c *Context, part []byte, last bool)
	// End closes a message, after all its texts.
	End(*Context)
	// Opaque says that something of a flow or message could not be looked into: once a flow and reason for TLS and
	// encrypted, once a message and reason for others.
	Opaque(*Context, Reason)
}
