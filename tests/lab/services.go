// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// The names of the images of servers that run somebody's application or
// configuration, made from this machine's Debian packages. They come without:
// put it into a layer above, see [Image.With].
const (
	GunicornImage   = "docker.io/library/gunicorn:lab"
	TomcatImage     = "docker.io/library/tomcat:lab"
	PrometheusImage = "docker.io/library/prometheus:lab"
)

// The ports on which these servers listen.
const (
	GunicornPort   = 8000
	TomcatPort     = 8080
	PrometheusPort = 9090
)

// nobodyID is the id of the user nobody, see passwd.
const nobodyID = 65534

// With returns the image under another name, with one more layer on top.
func (i Image) With(name string, files ...File) Image {
	i.Name, i.Layers = name, append(slices.Clone(i.Layers), Layer{Files: files})
	return i
}

// packages collects the files of installed Debian packages.
func packages(names ...string) ([]File, error) {
	var files []File
	for _, name := range names {
		more, err := HostPackage(name)
		if err != nil {
			return nil, err
		}
		files = append(files, more...)
	}
	return files, nil
}

// Gunicorn serves a Python application on GunicornPort with worker processes,
// and holds Flask and the clients of Redis and PostgreSQL, from Debian's
// packages gunicorn, python3-flask, python3-redis and python3-psycopg2. The
// application is the module app in /srv/app, which belongs to who runs it, as
// do /var/lib/app and /var/log/app. It can run Debian's gzip.
func Gunicorn() (Image, error) {
	image, err := Python()
	if err != nil {
		return Image{}, err
	}
	files, err := packages("gunicorn", "python3-gunicorn", "python3-pkg-resources",
		"python3-flask", "python3-werkzeug", "python3-jinja2", "python3-markupsafe", "python3-click", "python3-itsdangerous",
		"python3-redis", "python3-async-timeout", "python3-deprecated", "python3-wrapt", "python3-packaging", "python3-psycopg2", "gzip")
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", GunicornImage, err)
	}
	for _, dir := range []string{"/srv/app", "/var/lib/app", "/var/log/app"} {
		files = append(files, File{Path: dir, Mode: fs.ModeDir | 0o755, UID: webID, GID: webID})
	}
	image = image.With(GunicornImage, files...)
	image.Entrypoint = []string{"/usr/bin/gunicorn"}
	image.Cmd = []string{"--bind", fmt.Sprintf("0.0.0.0:%d", GunicornPort), "--workers", "2", "app:app"}
	image.User, image.WorkingDir = "www-data", "/srv/app"
	return image, nil
}

// jre finds the home of Debian's default Java and collects its runtime, without
// what a development kit adds.
func jre() (home string, files []File, err error) {
	home, err = filepath.EvalSymlinks("/usr/lib/jvm/default-java")
	if err != nil {
		return "", nil, err
	}
	// The other libraries need these, which the launcher finds for them.
	files, err = HostBinaries(home+"/bin/java", home+"/lib/jspawnhelper", home+"/lib/server/libjvm.so")
	if err != nil {
		return "", nil, err
	}
	for _, tree := range []string{home + "/conf", home + "/lib", "/etc/" + strings.TrimSuffix(filepath.Base(home), "-"+runtime.GOARCH)} {
		more, err := HostTree(tree)
		if err != nil {
			return "", nil, err
		}
		files = append(files, more...)
	}
	return home, slices.DeleteFunc(files, func(f File) bool {
		return f.Path == home+"/lib/ct.sym" || f.Path == home+"/lib/src.zip"
	}), nil
}

// Tomcat serves the applications in /var/lib/tomcat10/webapps on TomcatPort,
// from Debian's packages libtomcat10-java, tomcat10-common and
// default-jre-headless, configured by conf in /var/lib/tomcat10. The examples
// of Debian's package tomcat10-examples are at /examples. It can run Debian's
// gzip.
func Tomcat() (Image, error) {
	const pkg = "image " + TomcatImage + ": %w"
	home, files, err := jre()
	if err != nil {
		return Image{}, fmt.Errorf(pkg, err)
	}
	more, err := packages("libtomcat10-java", "libeclipse-jdt-core-java", "tomcat10-common", "tomcat10-examples", "gzip")
	if err != nil {
		return Image{}, fmt.Errorf(pkg, err)
	}
	files = append(files, more...)
	const base = "/var/lib/tomcat10"
	for _, dir := range []string{base, base + "/conf", base + "/webapps", base + "/logs", base + "/work", base + "/temp"} {
		files = append(files, File{Path: dir, Mode: fs.ModeDir | 0o755, UID: webID, GID: webID})
	}
	image, err := NewImage(TomcatImage, files, "/usr/share/tomcat10/bin/catalina.sh")
	image.Cmd = []string{"run"}
	image.User, image.WorkingDir = "www-data", base
	image.Env = []string{
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "JAVA_HOME=" + home, "JRE_HOME=" + home,
		"CATALINA_HOME=/usr/share/tomcat10", "CATALINA_BASE=" + base, "CATALINA_TMPDIR=" + base + "/temp",
	}
	return image, err
}

// Prometheus watches what /etc/prometheus/prometheus.yml says, keeps it in
// /var/lib/prometheus and answers on PrometheusPort, from Debian's package
// prometheus.
func Prometheus() (Image, error) {
	files, err := HostBinaries("/usr/bin/prometheus")
	if err != nil {
		return Image{}, fmt.Errorf("image %s (Debian package prometheus): %w", PrometheusImage, err)
	}
	files = append(files, File{Path: "/var/lib/prometheus", Mode: fs.ModeDir | 0o755, UID: nobodyID, GID: nobodyID})
	image, err := NewImage(PrometheusImage, files, "/usr/bin/prometheus")
	image.Cmd = []string{"--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/var/lib/prometheus"}
	image.User = "nobody"
	return image, err
}
