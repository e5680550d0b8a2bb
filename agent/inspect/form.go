// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bytes"
	"unsafe"
)

// formScanner splits URL-encoded parameters into texts of their own, decoded (URL Standard, 5.1).
type formScanner struct {
	t *text
	// key is the parameter's name, decoded as far as it is kept.
	key   [nameMax]byte
	keyN  int
	value *text
	dec   *encodedScanner
	// inValue says that the '=' has come.
	inValue bool
}

const formCost = int(unsafe.Sizeof(formScanner{}))

// newForm makes a scanner of a text, or nil when there is no memory for it.
func (in *Inspector) newForm(t *text) *formScanner {
	if !in.reserve(formCost, t.m.f) {
		t.m.opaque(ReasonMemory)
		return nil
	}
	x := in.freeForms.get()
	*x = formScanner{t: t}
	return x
}

// write implements consumer.
func (x *formScanner) write(p []byte) {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '&')
		part := p
		if i >= 0 {
			part = p[:i]
		}
		x.part(part)
		if i < 0 {
			return
		}
		x.endValue(true)
		p = p[i+1:]
	}
}

// part takes bytes of one parameter.
func (x *formScanner) part(p []byte) {
	if !x.inValue {
		i := bytes.IndexByte(p, '=')
		if i < 0 {
			x.keyN += copy(x.key[x.keyN:], p)
			return
		}
		x.keyN += copy(x.key[x.keyN:], p[:i])
		p = p[i+1:]
		x.inValue = true
	}
	if len(p) == 0 {
		return
	}
	if x.dec == nil && !x.begin() {
		return
	}
	x.dec.write(p)
}

func (x *formScanner) begin() bool {
	if x.value = x.t.under(modeValue); x.value == nil {
		return false
	}
	x.value.ctx.Part = FormField
	x.value.layer(LayerURL)
	x.value.rename(x.key[:x.keyN])
	if x.dec = x.t.m.f.in.newDecoding(x.t.m, LayerURL, x.value); x.dec == nil {
		x.value.abandon()
		return false
	}
	x.dec.plus = true
	return true
}

func (x *formScanner) endValue(whole bool) {
	if x.dec == nil && x.keyN > 0 && !x.inValue {
		// A parameter without '=' may be all there is, as in a body that was wrongly said to be a form.
		n := x.keyN
		x.keyN = 0
		if x.begin() {
			x.dec.write(x.key[:n])
		}
	}
	if x.dec != nil {
		x.dec.close(whole)
	}
	x.dec, x.value, x.keyN, x.inValue = nil, nil, 0, false
}

// close implements consumer.
func (x *formScanner) close(whole bool) {
	x.endValue(whole)
	in := x.t.m.f.in
	x.t = nil
	in.release(formCost)
	in.freeForms.put(x)
}
