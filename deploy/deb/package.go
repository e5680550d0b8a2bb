// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/deploy/pack"
)

// Where things are in the source tree.
const (
	scripts = "deploy/deb/scripts/"
	units   = "deploy/systemd/"
)

// build makes the package of one architecture.
func (p *debian) build(b *pack.Build, settings string) ([]byte, error) {
	files, err := p.files(b, settings)
	if err != nil {
		return nil, err
	}
	control, err := p.control(b, files)
	if err != nil {
		return nil, err
	}
	members := []member{{"debian-binary", []byte("2.0\n")}}
	for name, content := range map[string][]pack.File{"control.tar.gz": control, "data.tar.gz": files} {
		text, err := pack.Tar(content, "./", b.Time)
		if err != nil {
			return nil, err
		}
		compressed, err := pack.Gzip(text)
		if err != nil {
			return nil, err
		}
		members = append(members, member{name, compressed})
	}
	// dpkg wants the control archive before the data.
	slices.SortFunc(members[1:], func(a, b member) int { return strings.Compare(a.name, b.name) })
	return archive(members, b.Time), nil
}

// files are what the package installs.
func (p *debian) files(b *pack.Build, settings string) ([]pack.File, error) {
	licence, err := pack.FromTree("LICENSE", "/usr/share/doc/"+p.name+"/copyright", 0o644)
	if err != nil {
		return nil, err
	}
	unit, err := pack.FromTree(units+p.name+".service", "/usr/lib/systemd/system/"+p.name+".service", 0o644)
	if err != nil {
		return nil, err
	}
	files := []pack.File{licence, unit, {Path: p.configPath(), Content: []byte(settings), Mode: 0o644}}
	for _, name := range p.licences {
		other, err := pack.FromTree("LICENSES/"+name, "/usr/share/doc/"+p.name+"/"+name, 0o644)
		if err != nil {
			return nil, err
		}
		files = append(files, other)
	}
	for _, program := range b.Programs {
		files = append(files, pack.File{Path: "/usr/bin/" + program.Name, Content: program.Content, Mode: 0o755})
	}
	if p.users {
		users, err := pack.FromTree("deploy/deb/"+p.name+".sysusers", "/usr/lib/sysusers.d/"+p.name+".conf", 0o644)
		if err != nil {
			return nil, err
		}
		files = append(files, users)
	}
	return files, nil
}

func (p *debian) configPath() string { return "/etc/holdfast/" + p.config }

// control is what dpkg reads: who the package is, which files the administrator owns, and the scripts.
func (p *debian) control(b *pack.Build, files []pack.File) ([]pack.File, error) {
	var sums strings.Builder
	size := 0
	for _, f := range files {
		size += (len(f.Content) + 1023) / 1024
		if f.Path != p.configPath() {
			fmt.Fprintf(&sums, "%x  %s\n", md5.Sum(f.Content), f.Path[1:])
		}
	}
	text := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: The Holdfast authors <maintainers@holdfast.dev>\n"+
		"Installed-Size: %d\nDepends: %s\nSection: admin\nPriority: optional\nHomepage: https://%s\nDescription: %s\n %s\n",
		p.name, b.Debian(), b.Architecture, size, p.depends, b.Module, p.summary, strings.ReplaceAll(p.description, "\n", "\n "))
	made := []pack.File{
		{Path: "/control", Content: []byte(text), Mode: 0o644},
		{Path: "/conffiles", Content: []byte(p.configPath() + "\n"), Mode: 0o644},
		{Path: "/md5sums", Content: []byte(sums.String()), Mode: 0o644},
	}
	for _, name := range []string{"postinst", "prerm", "postrm"} {
		script, err := pack.FromTree(scripts+p.name+"."+name, "/"+name, 0o755)
		if err != nil {
			return nil, err
		}
		made = append(made, script)
	}
	return made, nil
}

// member is a file of an ar archive.
type member struct {
	name    string
	content []byte
}

// archive writes an ar archive as deb(5) describes it.
func archive(members []member, at time.Time) []byte {
	var out bytes.Buffer
	out.WriteString("!<arch>\n")
	for _, m := range members {
		fmt.Fprintf(&out, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", m.name, at.Unix(), 0, 0, uint32(fs.FileMode(0o644))|0o100000, len(m.content))
		out.Write(m.content)
		if len(m.content)%2 == 1 {
			out.WriteByte('\n')
		}
	}
	return out.Bytes()
}
