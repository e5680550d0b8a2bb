// SPDX-License-Identifier: Apache-2.0

package view

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// Event is one event, recorded or live. A live one has no ID and no sequence: it is on no disk.
type Event struct {
	Time time.Time `json:"time"`
	Occurrence
	ID        string     `json:"id,omitempty"`
	Node      string     `json:"node"`
	Epoch     uint64     `json:"epoch,string,omitempty"`
	Sequence  uint64     `json:"sequence,omitempty"`
	Process   *Process   `json:"process,omitempty"`
	Container *Container `json:"container,omitempty"`
	Workload  Workload   `json:"workload"`
}

// Occurrence is what happened; who did it stands beside it.
type Occurrence struct {
	// Type is the event class: exec, open, connect, …
	Type string `json:"type"`
	// CPU and Seq make an event unique within a boot of its node.
	CPU uint32 `json:"cpu"`
	Seq uint64 `json:"seq"`
	// Result is 0 or a negative errno, and Error the errno's name; both are left out where the outcome is unknown.
	Result   *int32    `json:"result,omitempty"`
	Error    string    `json:"error,omitempty"`
	File     *File     `json:"file,omitempty"`
	Network  *Network  `json:"network,omitempty"`
	DNS      *DNS      `json:"dns,omitempty"`
	Security *Security `json:"security,omitempty"`
	Exit     *Exit     `json:"exit,omitempty"`
}

// File is the file that an event concerns.
type File struct {
	Path string `json:"path"`
	// Target is the second path of a rename, link or mount.
	Target string `json:"target,omitempty"`
	Flags  uint32 `json:"flags,omitempty"`
	// Mode is octal, as ls and chmod write it.
	Mode       string   `json:"mode,omitempty"`
	UID        uint32   `json:"uid"`
	GID        uint32   `json:"gid"`
	Inode      uint64   `json:"inode,string,omitempty"`
	Device     uint32   `json:"device,omitempty"`
	Filesystem string   `json:"filesystem,omitempty"`
	Attributes []string `json:"attributes,omitempty"`
}

// Network is the socket, or the flow, that an event concerns.
type Network struct {
	Family        string   `json:"family,omitempty"`
	Protocol      string   `json:"protocol,omitempty"`
	LocalAddress  string   `json:"local_address,omitempty"`
	LocalPort     uint32   `json:"local_port,omitempty"`
	RemoteAddress string   `json:"remote_address,omitempty"`
	RemoteName    string   `json:"remote_name,omitempty"`
	RemotePort    uint32   `json:"remote_port,omitempty"`
	BytesOut      uint64   `json:"bytes_out,omitempty"`
	BytesIn       uint64   `json:"bytes_in,omitempty"`
	Cookie        uint64   `json:"cookie,string,omitempty"`
	Attributes    []string `json:"attributes,omitempty"`
}

// DNS is a question or an answer.
type DNS struct {
	Answer       bool        `json:"answer"`
	ID           uint32      `json:"id"`
	Question     string      `json:"question"`
	QuestionType string      `json:"question_type,omitempty"`
	ResponseCode string      `json:"response_code,omitempty"`
	Records      []DNSRecord `json:"records,omitempty"`
	Network      *Network    `json:"network,omitempty"`
}

// DNSRecord is one record of an answer.
type DNSRecord struct {
	Name       string `json:"name"`
	Type       string `json:"type"`
	TTLSeconds uint32 `json:"ttl_seconds"`
	Data       string `json:"data"`
}

// Security holds the values of an event that has no shape of its own, by the names of docs/events.md.
type Security struct {
	Values map[string]string `json:"values,omitempty"`
	// Target is the process that the deed was done to.
	Target *Process `json:"target,omitempty"`
}

// Exit is how a process ended.
type Exit struct {
	Code   uint32 `json:"code"`
	Signal uint32 `json:"signal,omitempty"`
}

// NewEvent gives an event its outside shape. Of a live event only the node of the origin is known.
func NewEvent(origin Origin, e *apiv1.Event) Event {
	return Event{
		Time:       eventTime(e),
		Occurrence: newOccurrence(e),
		ID:         origin.ID,
		Node:       origin.Node,
		Epoch:      origin.Epoch,
		Sequence:   origin.Sequence,
		Process:    newProcess(e.GetProcess()),
		Container:  newContainer(e.GetContainer()),
		Workload:   newWorkload(e.GetContainer()),
	}
}

func eventTime(e *apiv1.Event) time.Time {
	return time.Unix(0, e.GetTimeNs()).UTC()
}

func newOccurrence(e *apiv1.Event) Occurrence {
	o := Occurrence{Type: e.GetType(), CPU: e.GetCpu(), Seq: e.GetSeq()}
	if e != nil && e.Result != nil {
		result := e.GetResult()
		o.Result, o.Error = &result, errorName(result)
	}
	if f := e.GetFile(); f != nil {
		o.File = newFile(f)
	}
	if n := e.GetNetwork(); n != nil {
		o.Network = newNetwork(n)
	}
	if d := e.GetDns(); d != nil {
		o.DNS = newDNS(d)
	}
	if s := e.GetSecurity(); s != nil {
		o.Security = &Security{Values: s.GetValues(), Target: newProcess(s.GetTarget())}
	}
	if x := e.GetExit(); x != nil {
		o.Exit = &Exit{Code: x.GetCode(), Signal: x.GetSignal()}
	}
	return o
}

// errorName returns the name of the errno in a result, such as EPERM, or the bare number where it has none.
func errorName(result int32) string {
	if result >= 0 {
		return ""
	}
	if name := unix.ErrnoName(unix.Errno(-int64(result))); name != "" {
		return name
	}
	return fmt.Sprintf("errno %d", -int64(result))
}

func newFile(f *apiv1.File) *File {
	file := &File{
		Path: f.GetPath(), Target: f.GetTarget(), Flags: f.GetFlags(), UID: f.GetUid(), GID: f.GetGid(),
		Inode: f.GetInode(), Device: f.GetDevice(), Filesystem: f.GetFilesystem(), Attributes: f.GetAttributes(),
	}
	if f.GetMode() != 0 {
		file.Mode = fmt.Sprintf("%04o", f.GetMode())
	}
	return file
}

func newNetwork(n *apiv1.Network) *Network {
	return &Network{
		Family: n.GetFamily(), Protocol: n.GetProtocol(),
		LocalAddress: n.GetLocalAddress(), LocalPort: n.GetLocalPort(),
		RemoteAddress: n.GetRemoteAddress(), RemotePort: n.GetRemotePort(), RemoteName: n.GetRemoteName(),
		BytesOut: n.GetBytesOut(), BytesIn: n.GetBytesIn(), Cookie: n.GetCookie(), Attributes: n.GetAttributes(),
	}
}

func newDNS(d *apiv1.Dns) *DNS {
	dns := &DNS{
		Answer: d.GetAnswer(), ID: d.GetId(), Question: d.GetQuestion(), QuestionType: d.GetQuestionType(),
		ResponseCode: d.GetResponseCode(),
	}
	for _, r := range d.GetRecords() {
		record := DNSRecord{Name: r.GetName(), Type: r.GetType(), TTLSeconds: r.GetTtl(), Data: r.GetData()}
		dns.Records = append(dns.Records, record)
	}
	if n := d.GetNetwork(); n != nil {
		dns.Network = newNetwork(n)
	}
	return dns
}

// Summary says in one line what the event is about, unescaped: the command of an exec, the path of an open, the
// destination of a connect.
func (e Event) Summary() string {
	var parts []string
	switch {
	case e.File != nil:
		parts = append(parts, e.File.Path)
		if e.File.Target != "" {
			parts = append(parts, "-> "+e.File.Target)
		}
		parts = append(parts, brackets(e.File.Attributes)...)
	case e.Network != nil:
		parts = append(parts, e.Network.summary())
	case e.DNS != nil:
		parts = append(parts, e.DNS.summary())
	case e.Security != nil:
		parts = append(parts, e.Security.summary())
	case e.Exit != nil:
		parts = append(parts, e.Exit.summary())
	case e.Process != nil:
		parts = append(parts, e.Process.Cmdline)
		parts = append(parts, brackets(e.Process.Flags)...)
	}
	if e.Error != "" {
		parts = append(parts, "= "+e.Error)
	}
	return strings.Join(parts, " ")
}

func brackets(words []string) []string {
	if len(words) == 0 {
		return nil
	}
	return []string{"[" + strings.Join(words, " ") + "]"}
}

func (n *Network) summary() string {
	var parts []string
	if n.Protocol != "" {
		parts = append(parts, n.Protocol)
	} else if n.Family != "" {
		parts = append(parts, n.Family)
	}
	local, remote := endpoint(n.LocalAddress, n.LocalPort), endpoint(n.RemoteAddress, n.RemotePort)
	if local != "" {
		parts = append(parts, local)
	}
	if remote != "" {
		parts = append(parts, "-> "+remote)
	}
	if n.BytesOut > 0 || n.BytesIn > 0 {
		parts = append(parts, fmt.Sprintf("out %d B, in %d B", n.BytesOut, n.BytesIn))
	}
	return strings.Join(append(parts, brackets(n.Attributes)...), " ")
}

// endpoint joins an address and a port; a path, which a Unix socket has, stays alone.
func endpoint(address string, port uint32) string {
	switch {
	case address == "" && port == 0:
		return ""
	case port == 0:
		return address
	case strings.Contains(address, ":"):
		return fmt.Sprintf("[%s]:%d", address, port)
	default:
		return fmt.Sprintf("%s:%d", address, port)
	}
}

func (d *DNS) summary() string {
	text := d.QuestionType + " " + d.Question
	if !d.Answer {
		return strings.TrimSpace(text + " ?")
	}
	var data []string
	for _, r := range d.Records {
		data = append(data, r.Data)
	}
	return strings.TrimSpace(text + " = " + d.ResponseCode + " " + strings.Join(data, " "))
}

func (s *Security) summary() string {
	var parts []string
	for _, name := range sortedKeys(s.Values) {
		parts = append(parts, name+"="+s.Values[name])
	}
	if s.Target != nil {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("of %s pid %d", s.Target.Cmdline, s.Target.PID)))
	}
	return strings.Join(parts, " ")
}

func (x *Exit) summary() string {
	if x.Signal != 0 {
		return fmt.Sprintf("signal %d", x.Signal)
	}
	return fmt.Sprintf("code %d", x.Code)
}
