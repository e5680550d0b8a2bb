// SPDX-License-Identifier: Apache-2.0

package waf

import "bytes"

// objects reports serialised objects whose reading runs code.
func (f *Filter) objects(t *text) {
	b := bytes.TrimLeft(t.b, " \t\r\n\"'")
	switch {
	case len(b) < 8:
	case javaObject(b):
		f.report(t, ruleJava, 0, 64)
	case prefixFold(b, "aaeaaad/////") || prefixFold(b, "aaeaaad_____"):
		f.report(t, ruleDotNet, 0, 64)
	case bytes.Contains(b, []byte("_$$ND_FUNC$$_")):
		i := bytes.Index(b, []byte("_$$ND_FUNC$$_"))
		f.report(t, ruleNodeFunction, i, i+100)
	case f.pickle(b):
		f.report(t, rulePickle, 0, 80)
	default:
		if at := phpObject(b); at >= 0 && (at == 0 || t.kind != Body) {
			f.report(t, rulePHPObject, at, at+100)
			return
		}
		if t.mask&maskClass == 0 {
			return
		}
		if at := namedClass(b, t.kind); at >= 0 {
			f.report(t, rulePolymorphic, at, at+100)
		}
	}
}

// javaObject reports whether a value begins with Java's stream magic and version, plain, in base64, or in hexadecimal,
// and goes on with something that streams have there.
func javaObject(b []byte) bool {
	if bytes.HasPrefix(b, []byte{0xac, 0xed, 0, 5}) {
		return true
	}
	if bytes.HasPrefix(b, []byte("rO0AB")) && len(b) > 12 {
		var buf [12]byte
		head := unbase64(buf[:0], b[:12])
		return len(head) > 5 && head[4] >= 0x70 && head[4] <= 0x7e
	}
	return prefixFold(b, "aced0005") && len(b) > 12 && hex(b[8]) == 7
}

// phpObject is where a serialised PHP object is, or -1: O:4:"Name":1:{ at the start of a value or of a member of an array.
func phpObject(b []byte) int {
	for i := 0; i+10 < len(b) && i < 2048; i++ {
		if b[i]|0x20 != 'o' && b[i]|0x20 != 'c' || b[i+1] != ':' || i > 0 && b[i-1] != ';' && b[i-1] != '{' && b[i-1] != '}' {
			continue
		}
		j := i + 2
		if b[j] == '+' {
			j++
		}
		n := 0
		for ; j < len(b) && digit(b[j]) && n < 1000; j++ {
			n = n*10 + int(b[j]-'0')
		}
		if n == 0 || j+2+n+2 >= len(b) || b[j] != ':' || b[j+1] != '"' || b[j+2+n] != '"' || b[j+3+n] != ':' {
			continue
		}
		j += 4 + n
		for j < len(b) && digit(b[j]) {
			j++
		}
		if j+1 < len(b) && b[j] == ':' && b[j+1] == '{' {
			return i
		}
	}
	return -1
}

// pickle reports whether a value is a pickle, plain or in base64, that names a function to call.
func (f *Filter) pickle(b []byte) bool {
	head := b
	if b[0] != 0x80 && b[0] != 'c' && b[0] != '(' {
		if n := prefixBase64(b); n < 16 {
			return false
		}
		f.values = unbase64(f.values[:0], b[:min(len(b), 2048)])
		head = f.values
	}
	if len(head) < 8 {
		return false
	}
	protocol := head[0] == 0x80 && head[1] >= 2 && head[1] <= 5
	if !protocol && head[0] != 'c' && head[0] != '(' {
		return false
	}
	head = head[:min(len(head), 1024)]
	called := bytes.IndexByte(head, 'R') > 0 || bytes.Contains(head, []byte("(i")) || bytes.IndexByte(head, 0x81) > 0 || bytes.IndexByte(head, 'o') > 0
	if !called {
		return false
	}
	for _, module := range [...]string{"posix", "os", "nt", "subprocess", "builtins", "__builtin__", "commands", "runpy", "pty", "importlib", "socket", "timeit", "shutil", "webbrowser"} {
		for _, function := range [...]string{"system", "popen", "Popen", "eval", "exec", "check_output", "call", "run", "spawn", "getattr", "__import__", "open", "execfile", "timeit", "run_path", "rmtree"} {
			if names(head, module, function, protocol) {
				return true
			}
		}
	}
	return false
}

// names reports whether a pickle refers to the function: the global opcode with two lines, or two short strings.
func names(b []byte, module, function string, protocol bool) bool {
	for at := 0; ; at++ {
		i := bytes.Index(b[at:], []byte(module))
		if i < 0 {
			return false
		}
		at += i
		end := at + len(module)
		switch {
		case at > 0 && b[at-1] == 'c' && end < len(b) && b[end] == '\n' && bytes.HasPrefix(b[end+1:], []byte(function+"\n")):
			return true
		case protocol && at > 0 && int(b[at-1]) == len(module) && bytes.Contains(b[end:min(len(b), end+24)], []byte(function)):
			return true
		}
	}
}

func prefixBase64(b []byte) int {
	n := 0
	for n < len(b) && base64Char(b[n]) {
		n++
	}
	return n
}

// namedClass is where a document names a class that is known to run code when a reader makes one, or -1.
func namedClass(b []byte, kind Kind) int {
	marks := [...]struct{ near, class string }{
		{"@type", "com.sun.rowset."}, {"@type", "java.lang."}, {"@type", "org.apache."}, {"@type", "javax."}, {"@type", "com.mchange."},
		{"@type", "java.net."}, {"@type", "oracle."}, {"@type", "org.springframework."}, {"@type", "l com.sun."},
		{"$type", "objectdataprovider"}, {"$type", "system.diagnostics"}, {"$type", "windowsidentity"}, {"$type", "system.configuration.install"},
		{"!!javax.script", "scriptengine"}, {"!!com.sun.", "rowset"}, {"!!python/object", "apply"}, {"!!python/", "os.system"}, {"!!python/", "subprocess"},
		{"java.beans.xmldecoder", "<object"}, {"java.beans.xmldecoder", "<void"}, {"processbuilder", "<void"}, {"processbuilder", "<command>"},
		{"processbuilder", "<object"}, {"dynamic-proxy", "eventhandler"}, {"java.lang.runtime", "<void"}, {"templatesimpl", "_bytecodes"}, {"com.sun.rowset.jdbcrowsetimpl", "datasourcename"},
		{"__reduce__", "os.system"},
	}
	b = b[:min(len(b), 16<<10)]
	for _, m := range marks {
		i := indexFold(b, m.near)
		if i < 0 {
			continue
		}
		if holds(b[i:min(len(b), i+400)], m.class) && (kind != Value || i < 64) {
			return i
		}
	}
	return -1
}
