// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// The names of the images made from this machine's Debian packages.
const (
	BusyboxImage  = "docker.io/library/busybox:lab"
	NginxImage    = "docker.io/library/nginx:lab"
	RedisImage    = "docker.io/library/redis:lab"
	PostgresImage = "docker.io/library/postgres:lab"
	PythonImage   = "docker.io/library/python:lab"
)

// The ports on which the servers of the images listen.
const (
	NginxPort    = 80
	RedisPort    = 6379
	PostgresPort = 5432
)

// ids of the users that the images' servers run as, see passwd.
const (
	webID      = 33
	postgresID = 70
	redisID    = 999
)

const passwd = `root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
postgres:x:70:70:postgres:/var/lib/postgresql:/bin/sh
redis:x:999:999:redis:/var/lib/redis:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
`

const group = `root:x:0:
tty:x:5:
shadow:x:42:
www-data:x:33:
postgres:x:70:
redis:x:999:
nogroup:x:65534:
`

// BaseLayer is the bottom layer of the other images: a merged /usr in the
// layout of Debian with busybox for the usual commands, sh among them, users,
// an /etc/shadow with locked passwords, and the usual directories.
func BaseLayer() (Layer, error) {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return Layer{}, fmt.Errorf("find busybox (Debian package busybox-static): %w", err)
	}
	list, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return Layer{}, fmt.Errorf("list the commands of busybox: %w", err)
	}
	dir := fs.ModeDir
	files := []File{
		{Path: "/usr/bin/busybox", Mode: 0o755, Source: busybox},
		{Path: "/usr/lib64", Mode: dir | 0o755},
		{Path: "/usr/sbin", Mode: dir | 0o755},
		{Path: "/usr/lib", Mode: dir | 0o755},
		{Path: "/bin", Mode: fs.ModeSymlink, Link: "usr/bin"},
		{Path: "/sbin", Mode: fs.ModeSymlink, Link: "usr/sbin"},
		{Path: "/lib", Mode: fs.ModeSymlink, Link: "usr/lib"},
		{Path: "/lib64", Mode: fs.ModeSymlink, Link: "usr/lib64"},
		{Path: "/etc/passwd", Mode: 0o644, Content: []byte(passwd)},
		{Path: "/etc/group", Mode: 0o644, Content: []byte(group)},
		{Path: "/etc/shadow", Mode: 0o640, GID: 42, Content: []byte("root:*:19000:0:99999:7:::\n")},
		{Path: "/etc/nsswitch.conf", Mode: 0o644, Content: []byte("passwd: files\ngroup: files\nhosts: files dns\n")},
		{Path: "/root", Mode: dir | 0o700},
		{Path: "/tmp", Mode: dir | fs.ModeSticky | 0o777},
		{Path: "/var/tmp", Mode: dir | fs.ModeSticky | 0o777},
		{Path: "/run", Mode: dir | 0o755},
		{Path: "/var/run", Mode: fs.ModeSymlink, Link: "/run"},
		{Path: "/proc", Mode: dir | 0o555},
		{Path: "/sys", Mode: dir | 0o555},
		{Path: "/dev", Mode: dir | 0o755},
	}
	for _, command := range strings.Fields(string(list)) {
		if command != "busybox" {
			files = append(files, File{Path: "/usr/bin/" + command, Mode: fs.ModeSymlink, Link: "busybox"})
		}
	}
	return Layer{Files: files}, nil
}

// NewImage makes an image of the base layer and, above it, one layer of files.
// To add a program of your own, a static one say, give it as a File with
// Source and put it below /usr.
func NewImage(name string, files []File, entrypoint ...string) (Image, error) {
	base, err := BaseLayer()
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", name, err)
	}
	image := Image{Name: name, Layers: []Layer{base}, Entrypoint: entrypoint}
	if len(files) > 0 {
		image.Layers = append(image.Layers, Layer{Files: files})
	}
	return image, nil
}

// Busybox is the base layer alone; by default it runs sh.
func Busybox() (Image, error) {
	return NewImage(BusyboxImage, nil, "/bin/sh")
}

const nginxConfig = `daemon off;
user www-data;
worker_processes 1;
error_log /dev/stderr notice;
pid /run/nginx.pid;
events { worker_connections 512; }
http {
	access_log off;
	types { text/html html; text/plain txt; }
	server {
		listen 80;
		listen [::]:80;
		root /var/www/html;
		location = /health { return 200 "ok\n"; }
	}
}
`

// Nginx serves /var/www/html on NginxPort, from Debian's package nginx.
func Nginx() (Image, error) {
	files, err := HostBinaries("/usr/sbin/nginx")
	if err != nil {
		return Image{}, fmt.Errorf("image %s (Debian package nginx): %w", NginxImage, err)
	}
	files = append(files,
		File{Path: "/etc/nginx/nginx.conf", Mode: 0o644, Content: []byte(nginxConfig)},
		File{Path: "/var/www/html/index.html", Mode: 0o644, Content: []byte("<!doctype html><title>lab</title><p>It works.\n")},
		File{Path: "/var/log/nginx", Mode: fs.ModeDir | 0o755},
		File{Path: "/var/lib/nginx", Mode: fs.ModeDir | 0o755, UID: webID, GID: webID},
	)
	return NewImage(NginxImage, files, "/usr/sbin/nginx")
}

// Redis serves on RedisPort without a password and writes nothing to disk,
// from Debian's packages redis-server and redis-tools.
func Redis() (Image, error) {
	files, err := HostBinaries("/usr/bin/redis-server", "/usr/bin/redis-cli")
	if err != nil {
		return Image{}, fmt.Errorf("image %s (Debian packages redis-server, redis-tools): %w", RedisImage, err)
	}
	files = append(files, File{Path: "/var/lib/redis", Mode: fs.ModeDir | 0o750, UID: redisID, GID: redisID})
	image, err := NewImage(RedisImage, files, "/usr/bin/redis-server")
	image.Cmd = []string{"--protected-mode", "no", "--bind", "*", "-::*", "--save", "", "--dir", "/var/lib/redis"}
	image.User, image.WorkingDir = "redis", "/var/lib/redis"
	return image, err
}

// Postgres serves the database postgres to the user postgres on PostgresPort
// without a password, from Debian's package postgresql. It makes its data
// directory at its start, which takes some seconds.
func Postgres() (Image, error) {
	const pkg = "image " + PostgresImage + " (Debian package postgresql): %w"
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(found) == 0 {
		return Image{}, fmt.Errorf(pkg, errors.Join(err, fs.ErrNotExist))
	}
	// The newest of several, as long as they have as many digits.
	bin := filepath.Dir(slices.Max(found))
	version := filepath.Base(filepath.Dir(bin))
	binaries := []string{bin + "/postgres", bin + "/initdb", bin + "/psql", bin + "/pgbench", bin + "/pg_isready"}
	// What initdb and the server load by name at run time.
	for _, library := range []string{"plpgsql", "dict_snowball", "pgoutput", "libpqwalreceiver"} {
		binaries = append(binaries, filepath.Join(filepath.Dir(bin), "lib", library+".so"))
	}
	files, err := HostBinaries(binaries...)
	if err != nil {
		return Image{}, fmt.Errorf(pkg, err)
	}
	for _, tree := range []string{"/usr/share/postgresql/" + version, "/usr/share/zoneinfo/Etc"} {
		more, err := HostTree(tree)
		if err != nil {
			return Image{}, fmt.Errorf(pkg, err)
		}
		files = append(files, more...)
	}
	start := fmt.Sprintf(`set -e
[ -s "$PGDATA/PG_VERSION" ] || %[1]s/initdb --auth=trust --no-sync --locale=C --encoding=UTF8 >/dev/null
grep -q "host all all all trust" "$PGDATA/pg_hba.conf" || echo "host all all all trust" >>"$PGDATA/pg_hba.conf"
exec %[1]s/postgres -c listen_addresses='*' -c unix_socket_directories=/tmp "$@"
`, bin)
	files = append(files,
		File{Path: "/var/lib/postgresql/data", Mode: fs.ModeDir | 0o700, UID: postgresID, GID: postgresID},
		File{Path: "/usr/local/bin/start", Mode: 0o755, Content: []byte("#!/bin/sh\n" + start)},
	)
	image, err := NewImage(PostgresImage, files, "/usr/local/bin/start")
	image.User, image.WorkingDir = "postgres", "/var/lib/postgresql"
	image.Env = []string{"PATH=/usr/local/bin:" + bin + ":/usr/sbin:/usr/bin:/sbin:/bin", "PGDATA=/var/lib/postgresql/data", "TZ=Etc/UTC"}
	return image, err
}

// Python runs Debian's own Python with its standard library, from the packages
// python3-minimal and libpython3-stdlib.
func Python() (Image, error) {
	const pkg = "image " + PythonImage + " (Debian package python3): %w"
	binary, err := filepath.EvalSymlinks("/usr/bin/python3")
	if err != nil {
		return Image{}, fmt.Errorf(pkg, err)
	}
	library := "/usr/lib/" + filepath.Base(binary)
	programs := []string{"/usr/bin/python3"}
	modules, err := filepath.Glob(library + "/lib-dynload/*.so")
	if err != nil {
		return Image{}, fmt.Errorf(pkg, err)
	}
	files, err := HostBinaries(append(programs, modules...)...)
	if err != nil {
		return Image{}, fmt.Errorf(pkg, err)
	}
	tree, err := HostTree(library)
	if err != nil {
		return Image{}, fmt.Errorf(pkg, err)
	}
	return NewImage(PythonImage, append(files, tree...), "/usr/bin/python3")
}

// HostTree returns a directory of this machine and all in it, as it is.
func HostTree(root string) ([]File, error) {
	var files []File
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		switch {
		case entry.IsDir():
			files = append(files, File{Path: path, Mode: info.Mode()})
		case entry.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			files = append(files, File{Path: path, Mode: info.Mode(), Link: target})
		case entry.Type().IsRegular():
			files = append(files, File{Path: path, Mode: info.Mode(), Source: path})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("collect files: %w", err)
	}
	return files, nil
}

// HostPackage returns the files that an installed Debian package owns, with
// the shared libraries that its programs need, but documentation.
func HostPackage(name string) ([]File, error) {
	list, err := packageList(name)
	if err != nil {
		return nil, fmt.Errorf("collect Debian package %s: %w", name, err)
	}
	var files []File
	var regular []string
	for _, path := range list {
		if strings.HasPrefix(path, "/usr/share/doc/") || strings.HasPrefix(path, "/usr/share/man/") {
			continue
		}
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			// Left out when the package was installed, or removed since.
		case err != nil:
			return nil, fmt.Errorf("collect Debian package %s: %w", name, err)
		case info.Mode().IsRegular():
			regular = append(regular, path)
		case info.IsDir():
			real, err := filepath.EvalSymlinks(path)
			if err != nil {
				return nil, fmt.Errorf("collect Debian package %s: %w", name, err)
			}
			if real != "/" {
				files = append(files, File{Path: real, Mode: info.Mode()})
			}
		}
	}
	binaries, err := HostBinaries(regular...)
	if err != nil {
		return nil, fmt.Errorf("collect Debian package %s: %w", name, err)
	}
	return append(files, binaries...), nil
}

// packageList reads the paths that dpkg recorded for a package.
func packageList(name string) ([]string, error) {
	if strings.ContainsAny(name, "/*?[") {
		return nil, fmt.Errorf("%q is no package's name", name)
	}
	for _, file := range []string{name, name + ":" + runtime.GOARCH} {
		f, err := os.Open("/var/lib/dpkg/info/" + file + ".list")
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		defer f.Close()
		var paths []string
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			paths = append(paths, lines.Text())
		}
		return paths, lines.Err()
	}
	return nil, fmt.Errorf("it is not installed: %w", fs.ErrNotExist)
}
