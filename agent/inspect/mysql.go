// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"encoding/binary"
	"unsafe"
)

// mysql reads the client/server protocol of MySQL and MariaDB: queries, what is bound to them, rows, and files that the
// server asked the client for. Rows are found by their form, not by following the session.
type mysql struct {
	f    *flow
	half [2]mysqlHalf
	// commands says that a command has come, so that the session is past its log-in.
	commands bool
}

type mysqlHalf struct {
	// in says that a packet is being read, of which left bytes are to come; long that the next one continues it.
	in, long bool
	left     int
	skip     bool
	part     Part
	m        *message
	out      *text
}

// Commands and capabilities of the client.
const (
	mysqlQuery   = 0x03
	mysqlPrepare = 0x16
	mysqlExecute = 0x17
	mysqlData    = 0x18

	mysqlCompress = 1 << 5
	mysqlTLS      = 1 << 11
	mysqlZstd     = 1 << 26

	mysqlHead      = 4
	mysqlPacketMax = 0xffffff
	mysqlCost      = int(unsafe.Sizeof(mysql{}))
)

func newMySQL(f *flow) parser {
	if !f.in.reserve(mysqlCost, f) {
		return f.refused()
	}
	return &mysql{f: f}
}

// feed implements parser.
func (p *mysql) feed(d Dir, data []byte) int {
	h := &p.half[d]
	if h.in {
		n := min(h.left, len(data))
		p.bytes(d, data[:n])
		if h.left -= n; h.left == 0 {
			p.packetEnd(d)
		}
		return n
	}
	if len(data) < mysqlHead {
		return 0
	}
	size := int(data[0]) | int(data[1])<<8 | int(data[2])<<16
	if h.long {
		return p.open(d, size)
	}
	if d == p.f.client() {
		return p.client(d, size, data)
	}
	return p.server(d, size, data)
}

// open begins a packet of which left bytes are to come, and returns the length of its head.
func (p *mysql) open(d Dir, left int) int {
	h := &p.half[d]
	h.in, h.left = true, left
	if left < mysqlPacketMax-1 {
		h.long = false
	}
	if left == 0 {
		p.packetEnd(d)
	}
	return mysqlHead
}

// client looks at a packet of the client: a command, an answer of the log-in, or a file.
func (p *mysql) client(d Dir, size int, data []byte) int {
	h := &p.half[d]
	if data[3] != 0 {
		return p.answer(d, size, data)
	}
	if size == 0 {
		return mysqlHead
	}
	if len(data) <= mysqlHead {
		return 0
	}
	p.commands = true
	p.end(1-d, true)
	p.end(d, true)
	h.skip, h.long = false, size == mysqlPacketMax
	switch data[mysqlHead] {
	case mysqlQuery, mysqlPrepare:
		h.part = Query
	case mysqlExecute, mysqlData:
		h.part = Parameter
	default:
		h.skip = true
	}
	return 1 + p.open(d, size-1)
}

// answer looks at a packet of the client that is no command.
func (p *mysql) answer(d Dir, size int, data []byte) int {
	h := &p.half[d]
	h.part, h.skip, h.long = Body, !p.commands, size == mysqlPacketMax
	if p.commands || data[3] > 2 || size < 32 {
		return p.open(d, size)
	}
	if len(data) < mysqlHead+4 {
		return 0
	}
	caps := binary.LittleEndian.Uint32(data[mysqlHead:])
	f := p.f
	switch {
	case caps&mysqlTLS != 0 && size == 32:
		if len(data) < mysqlHead+size {
			return 0
		}
		p.close()
		f.app, f.parser = Unknown, nil
		return mysqlHead + size
	case caps&(mysqlCompress|mysqlZstd) != 0 && data[3] == 1:
		f.lose(d, ReasonEncoding)
		return mysqlHead
	}
	return p.open(d, size)
}

// server looks at a packet of the server: a row if all of it are strings behind their lengths, else what it may be.
func (p *mysql) server(d Dir, size int, data []byte) int {
	h := &p.half[d]
	if !p.commands {
		h.skip = true
		return p.open(d, size)
	}
	if size == 0 {
		return mysqlHead
	}
	h.part, h.skip, h.long = Row, false, size == mysqlPacketMax
	whole := mysqlHead + size
	if whole > p.f.in.cfg.FlowBytes {
		return p.open(d, size)
	}
	if len(data) < whole {
		return 0
	}
	p.row(d, data[mysqlHead:whole])
	return whole
}

// row takes a packet of the server that is there as a whole.
func (p *mysql) row(d Dir, b []byte) {
	h := &p.half[d]
	switch {
	case b[0] == 0xff || b[0] == 0xfe && len(b) < 9:
		p.end(d, true)
		return
	case b[0] == 0 && len(b) < 12, len(b) < 3, b[0] == 3 && string(b[1:4]) == "def":
		return // An OK, a count, or the definition of a column.
	}
	if h.m == nil {
		if h.m = p.f.begin(d, MySQL); h.m == nil {
			return
		}
	}
	if !columns(b, nil) {
		if t := h.m.open(Row, nil, modeBody); t != nil {
			t.whole(h.m.take(b))
		}
		return
	}
	columns(b, func(v []byte) {
		if v = h.m.take(v); len(v) > 0 {
			if t := h.m.open(Row, nil, modeBody); t != nil {
				t.whole(v)
			}
		}
	})
}

// columns visits the strings of a text row. False when b is none.
func columns(b []byte, visit func([]byte)) bool {
	for len(b) > 0 {
		n, head := uint64(b[0]), 1
		switch b[0] {
		case 0xfb:
			b = b[1:]
			continue
		case 0xfc:
			head = 3
		case 0xfd:
			head = 4
		case 0xfe:
			head = 9
		case 0xff:
			return false
		}
		if len(b) < head {
			return false
		}
		if head > 1 {
			var wide [8]byte
			copy(wide[:], b[1:head])
			n = binary.LittleEndian.Uint64(wide[:])
		}
		if n > uint64(len(b)-head) {
			return false
		}
		if visit != nil {
			visit(b[head : head+int(n)])
		}
		b = b[head+int(n):]
	}
	return true
}

// overflow implements parser: nothing that is waited for is as long as a buffer.
func (p *mysql) overflow(_ Dir, data []byte) int { return len(data) }

// bytes takes bytes of a packet that is read as it comes.
func (p *mysql) bytes(d Dir, b []byte) {
	h := &p.half[d]
	if h.skip || len(b) == 0 {
		return
	}
	if h.m == nil {
		if h.m = p.f.begin(d, MySQL); h.m == nil {
			h.skip = true
			return
		}
	}
	if h.out == nil {
		if h.out = h.m.open(h.part, nil, modeBody); h.out == nil {
			h.skip = true
			return
		}
	}
	if b = h.m.take(b); len(b) > 0 {
		h.out.write(b)
	}
}

func (p *mysql) packetEnd(d Dir) {
	h := &p.half[d]
	if h.in = false; h.long {
		return
	}
	if h.part == Body && !h.skip {
		return // A file goes on until the next command.
	}
	if h.out != nil {
		h.out.close(true)
		h.out = nil
	}
	if d == p.f.client() {
		p.end(d, true)
	}
}

func (p *mysql) end(d Dir, whole bool) {
	h := &p.half[d]
	if h.out != nil {
		h.out.close(whole)
	}
	if h.m != nil {
		h.m.end()
	}
	h.out, h.m = nil, nil
}

// gap implements parser: within a packet the rest of it is known, else the framing is lost.
func (p *mysql) gap(d Dir, waiting []byte, n int) {
	h := &p.half[d]
	p.f.in.stats.Resynced++
	p.end(d, false)
	if h.in && len(waiting) == 0 && n >= 0 && n <= h.left {
		h.skip = true
		if h.left -= n; h.left == 0 {
			p.packetEnd(d)
		}
		return
	}
	f := p.f
	p.close()
	f.app, f.parser = Unknown, newPlain(f)
}

// close implements parser.
func (p *mysql) close() {
	p.end(Out, false)
	p.end(In, false)
	p.f.in.release(mysqlCost)
}
