// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// client uses a service as it is meant to be used, again and again.
type client struct {
	name string
	// every is how long it thinks between two rounds, least how many rounds it takes to use all of the service.
	every time.Duration
	least int
	// round uses the service for the nth time.
	round func(ctx context.Context, n int) error

	mu     sync.Mutex
	rounds int
	errs   []error
}

// enough reports whether it has used all of the service.
func (c *client) enough() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rounds >= c.least
}

// work goes on until ctx ends.
func (c *client) work(ctx context.Context, first int) {
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	for n := first; ; n++ {
		err := c.round(ctx, n)
		if ctx.Err() != nil {
			return
		}
		c.mu.Lock()
		c.rounds++
		if err != nil {
			c.errs = append(c.errs, fmt.Errorf("%s: round %d at %s: %w", c.name, n, time.Now().Format(time.TimeOnly), err))
		}
		c.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// clients are those of all services, and what the node does for them now and then. They stand for the same load in every
// round of the test.
func (f *field) clients() []*client {
	web := &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{
		DialContext: f.r.Lab.DialContext, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	edge, java, metrics := "http://"+f.address("edge"), "http://"+f.address("java"), "https://"+f.address("metrics")
	return []*client{
		{name: "pages of edge", every: 50 * time.Millisecond, least: 20, round: func(ctx context.Context, n int) error {
			return errors.Join(page(ctx, web, edge+"/", "It works."), page(ctx, web, edge+"/large.txt", "It works."))
		}},
		{name: "app behind edge", every: 40 * time.Millisecond, least: 25, round: func(ctx context.Context, n int) error {
			item := n % 500
			if n%5 == 0 {
				form := url.Values{"note": {strings.Repeat("note ", n%9000)}}.Encode()
				return send(ctx, web, fmt.Sprintf("%s/app/note/%d", edge, item), "application/x-www-form-urlencoded", strings.NewReader(form), "noted")
			}
			return page(ctx, web, fmt.Sprintf("%s/app/item/%d", edge, item), fmt.Sprintf("item %d:", item))
		}},
		{name: "uploads to app", every: 250 * time.Millisecond, least: 8, round: func(ctx context.Context, n int) error {
			return uploadFile(ctx, web, edge+"/app/upload", n)
		}},
		{name: "reports of app", every: time.Second, least: 3, round: func(ctx context.Context, n int) error {
			return errors.Join(page(ctx, web, edge+"/app/report", "660000 bytes"),
				page(ctx, web, fmt.Sprintf("%s/app/calc?expression=%d%%2B1", edge, n), fmt.Sprint(n+1)))
		}},
		{name: "pages of java", every: 50 * time.Millisecond, least: len(javaPages), round: func(ctx context.Context, n int) error {
			example := javaPages[n%len(javaPages)]
			return page(ctx, web, java+"/examples/"+example.path, example.want)
		}},
		{name: "java behind edge", every: 300 * time.Millisecond, least: 4, round: func(ctx context.Context, n int) error {
			form := url.Values{"text": {strings.Repeat("text ", 1000)}}.Encode()
			return errors.Join(
				send(ctx, web, edge+"/java/pack.jsp", "application/x-www-form-urlencoded", strings.NewReader(form), "packed: true, code 0"),
				page(ctx, web, fmt.Sprintf("%s/java/relay.jsp?item=%d", edge, n%500), fmt.Sprintf("item %d:", n%500)))
		}},
		{name: "questions to metrics", every: 200 * time.Millisecond, least: 10, round: func(ctx context.Context, n int) error {
			query := url.Values{"query": {"sum(rate(app_requests_total[10s]))"}, "start": {fmt.Sprint(time.Now().Add(-time.Minute).Unix())},
				"end": {fmt.Sprint(time.Now().Unix())}, "step": {"1"}}.Encode()
			return errors.Join(page(ctx, web, metrics+"/api/v1/targets", `"status":"success"`),
				send(ctx, web, metrics+"/api/v1/query_range", "application/x-www-form-urlencoded", strings.NewReader(query), `"status":"success"`))
		}},
		{name: "values in redis", every: 100 * time.Millisecond, least: 20, round: f.exerciseRedis},
		{name: "rotation of the edge's log", every: 3 * time.Second, least: 2, round: f.rotate},
	}
}

// javaPages are examples of Tomcat with what is on them.
var javaPages = []struct{ path, want string }{
	{"", "Apache Tomcat"}, {"jsp/", "JSP"}, {"jsp/dates/date.jsp", "Day of month"}, {"jsp/snp/snoop.jsp", "Request Information"},
	{"jsp/num/numguess.jsp", "Guess"}, {"jsp/jsp2/el/composite.jsp?foo=bar", "Composite"}, {"jsp/colors/colrs.jsp?color1=red", "Color"},
	{"jsp/sessions/carts.jsp?item=1&submit=add", "Shopping Cart"}, {"jsp/checkbox/checkresult.jsp?fruit=apples", "apples"},
	{"jsp/forward/forward.jsp", "VM Memory usage"}, {"jsp/include/include.jsp", "the current time"}, {"jsp/jsp2/el/basic-arithmetic.jsp", "Arithmetic"},
	{"servlets/servlet/RequestInfoExample", "Request Information"}, {"servlets/servlet/SessionExample?dataname=a&datavalue=b", "Session"},
}

// page fetches a page that must hold a text.
func page(ctx context.Context, web *http.Client, url, want string) error {
	return send(ctx, web, url, "", nil, want)
}

// send posts a body, or fetches where there is none.
func send(ctx context.Context, web *http.Client, url, kind string, body io.Reader, want string) error {
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	request, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return err
	}
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	response, err := web.Do(request)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK || !bytes.Contains(text, []byte(want)) {
		return fmt.Errorf("%s: %s, want %q: %.300q", url, response.Status, want, text)
	}
	return nil
}

// uploadFile sends files of different lengths and content; some are too long to stay in memory on their way.
func uploadFile(ctx context.Context, web *http.Client, url string, n int) error {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("file", fmt.Sprintf("file %d.txt", n))
	if err != nil {
		return err
	}
	_, err = io.WriteString(part, strings.Repeat(fmt.Sprintf("line of file %d\n", n), 1<<(n%4*2+9)))
	if err = errors.Join(err, form.Close()); err != nil {
		return err
	}
	return send(ctx, web, url, form.FormDataContentType(), &body, "\n")
}

// exerciseRedis writes and reads values in a connection of its own.
func (f *field) exerciseRedis(ctx context.Context, n int) error {
	conn, err := f.r.Lab.DialContext(ctx, "tcp", f.address("redis"))
	if err != nil {
		return err
	}
	defer conn.Close()
	for i := range 20 {
		value := fmt.Sprintf("%d-%d-%s", n, i, strings.Repeat("v", 500))
		if _, err := speakRedis(conn, "SET", fmt.Sprintf("key:%d", i), value); err != nil {
			return err
		}
		if got, err := speakRedis(conn, "GET", fmt.Sprintf("key:%d", i)); err != nil || got != value {
			return fmt.Errorf("redis returns %.20q, want %.20q: %w", got, value, err)
		}
	}
	return nil
}

// rotate puts nginx's log aside and has it begin another, as logrotate does.
func (f *field) rotate(ctx context.Context, n int) error {
	edge := f.running["edge"]
	status, err := edge.Status(ctx)
	if err != nil {
		return err
	}
	logs := filepath.Join(f.r.Dir, "edge-logs")
	old := filepath.Join(logs, "access.log-"+time.Now().Format("20060102-150405"))
	if err := os.Rename(filepath.Join(logs, "access.log"), old); err != nil {
		return err
	}
	if err := syscall.Kill(status.PID, syscall.SIGUSR1); err != nil {
		return err
	}
	return wait.For(ctx, 20*time.Second, func() error {
		_, err := os.Stat(filepath.Join(logs, "access.log"))
		return err
	})
}

// underLoad runs all clients, the databases' own among them, and the probes for a while, and until each client has used
// all of its service. It fails the test for everything that goes wrong.
func (f *field) underLoad(t *testing.T, round string, last time.Duration) {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), last+patience)
	defer cancel()
	bench := f.pgbench(t, round, last)
	all := f.clients()
	var wg sync.WaitGroup
	for _, c := range all {
		wg.Go(func() { c.work(ctx, 1+int(began.Unix()%1000)*1000) })
	}
	probes, failed := f.probe(ctx, func() bool {
		return time.Since(began) >= last && !slices.ContainsFunc(all, func(c *client) bool { return !c.enough() })
	})
	cancel()
	wg.Wait()
	for _, err := range failed {
		t.Error(err)
	}
	var done []string
	for _, c := range all {
		done = append(done, fmt.Sprintf("%s %d", c.name, c.rounds))
		if len(c.errs) > 0 || c.rounds < c.least {
			t.Errorf("%s: %d of %d rounds went wrong", c.name, len(c.errs), c.rounds)
		}
		for _, err := range c.errs[:min(3, len(c.errs))] {
			t.Error(err)
		}
	}
	status, err := bench.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	log, err := bench.Logs()
	if err != nil || status.ExitCode != 0 {
		t.Errorf("pgbench ended with %d: %v %s", status.ExitCode, err, log)
	}
	_, transactions, _ := strings.Cut(log, "actually processed:")
	t.Logf("%s: %s: %d probes, pgbench %.30q; rounds: %s", round, time.Since(began).Round(time.Second), probes, transactions, strings.Join(done, ", "))
}

// patience is how much longer a load may take on a machine that is busy.
const patience = 5 * time.Minute

// pgbench uses the database from a container, at a bounded rate.
func (f *field) pgbench(t *testing.T, round string, last time.Duration) *lab.Container {
	t.Helper()
	script := fmt.Sprintf("pgbench -h %[1]s -i -q postgres && pgbench -h %[1]s -c 2 -R 20 -T %.0f postgres && psql -h %[1]s -qc 'VACUUM FULL' -c CHECKPOINT postgres",
		f.running["postgres"].Pod.IP, last.Seconds())
	pod := runPod(t, f.r, lab.PodConfig{Namespace: "load", Name: "postgres-" + round})
	return run(t, pod, lab.ContainerConfig{Name: "client", Image: lab.PostgresImage, Command: []string{"/bin/sh", "-c", script}})
}

// probe probes the services in turn, one a second, until enough was done or ctx ends.
func (f *field) probe(ctx context.Context, enough func() bool) (probes int, failed []error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for !enough() {
		select {
		case <-ctx.Done():
			return probes, failed
		case <-tick.C:
		}
		s := services[probes%len(services)]
		res, err := f.running[s.name].Exec(ctx, s.probe...)
		if ctx.Err() != nil {
			return probes, failed
		}
		probes++
		if err != nil || res.Code != 0 {
			failed = append(failed, fmt.Errorf("probe of %s: %+v: %w", s.name, res, err))
		}
	}
	return probes, failed
}

// redis sends one command in a connection of its own and returns the answer; an error of Redis is one.
func (f *field) redis(ctx context.Context, command ...string) (string, error) {
	conn, err := f.r.Lab.DialContext(ctx, "tcp", f.address("redis"))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return speakRedis(conn, command...)
}

// speakRedis speaks Redis's protocol.
func speakRedis(conn net.Conn, command ...string) (string, error) {
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return "", err
	}
	request := fmt.Sprintf("*%d\r\n", len(command))
	for _, word := range command {
		request += fmt.Sprintf("$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return "", err
	}
	answers := bufio.NewReader(conn)
	line, err := answers.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("redis %s: %w", command[0], err)
	}
	line = strings.TrimSpace(line)
	switch {
	case line == "" || line[0] == '-':
		return "", fmt.Errorf("redis %s: %s", command[0], line)
	case line[0] == '$' && line != "$-1":
		line, err = answers.ReadString('\n')
		return strings.TrimSpace(line), err
	}
	return line, nil
}
