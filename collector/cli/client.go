// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/collector/term"
)

const (
	// connectTimeout bounds the way to the first byte of an answer, and answerTimeout a whole answer that is no stream.
	connectTimeout = 10 * time.Second
	answerTimeout  = 60 * time.Second
	// maxAnswerBytes bounds an answer that is read whole.
	maxAnswerBytes = 256 << 20
	// maxCABytes bounds the file of CA certificates.
	maxCABytes = 4 << 20
)

// client speaks to one collector as one user.
type client struct {
	http    *http.Client
	address string
	token   string
	// ca is the file of CA certificates, for errors; empty for those of the system.
	ca string
}

// client makes the client that the settings describe. It connects to nothing yet.
func (s settings) client() (*client, error) {
	address, err := s.target()
	if err != nil {
		return nil, err
	}
	token, err := s.bearer()
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.CA != "" {
		if config.RootCAs, err = readCA(s.CA); err != nil {
			return nil, err
		}
	}
	return &client{
		http: &http.Client{
			Transport: &http.Transport{
				Proxy:                 http.ProxyFromEnvironment,
				DialContext:           (&net.Dialer{Timeout: connectTimeout}).DialContext,
				TLSClientConfig:       config,
				TLSHandshakeTimeout:   connectTimeout,
				ResponseHeaderTimeout: answerTimeout,
				ForceAttemptHTTP2:     true,
			},
			// The API redirects nowhere, and a token must not follow a redirect to elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		address: address, token: token, ca: s.CA,
	}, nil
}

func readCA(path string) (*x509.CertPool, error) {
	text, err := readFile(path, maxCABytes)
	if err != nil {
		return nil, advise(ExitUsage, fmt.Errorf("CA certificates: %w", err), "HOLDFAST_CA, --ca or the configuration file names this file.")
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, advise(ExitUsage, fmt.Errorf("CA file %s holds no certificate in PEM", path), "%s", caAdvice)
	}
	return pool, nil
}

const caAdvice = "It must be the CA certificate of the collector, ca.pem in the collector's --data-dir: " +
	"a text that begins with -----BEGIN CERTIFICATE-----."

// get asks for path and decodes the whole answer into v.
func (c *client) get(ctx context.Context, path string, query url.Values, v any) error {
	return c.call(ctx, http.MethodGet, path, query, nil, v)
}

// call sends body, unless it is nil, and decodes the whole answer into v, unless that is nil.
func (c *client) call(ctx context.Context, method, path string, query url.Values, body, v any) error {
	return c.callWith(ctx, method, path, query, nil, body, v)
}

// callWith is call with more headers.
func (c *client) callWith(ctx context.Context, method, path string, query url.Values, header http.Header, body, v any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	response, err := c.do(ctx, method, path, query, header, body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return c.explain(fmt.Errorf("read the answer of %s: %w", c.address, err))
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(text, v); err != nil {
		return c.strange(fmt.Errorf("answer to %s: %w", path, err))
	}
	return nil
}

// below returns the path of something named below a path. Names that would lead elsewhere name nothing.
func below(path, name string) (string, error) {
	if name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
		return "", advise(ExitNotFound, fmt.Errorf("there is no %q", name), "%s", notFoundAdvice)
	}
	return path + "/" + url.PathEscape(name), nil
}

const notFoundAdvice = "'holdfast nodes' lists the nodes, 'holdfast alerts -o wide' the alerts with their ids, 'holdfast record list' what\n" +
	"is recorded, 'holdfast profile list' the profiles, and 'holdfast mode list' the modes that were set."

// do sends a request, with header beside its own unless that is nil, and returns the answer if it is a success; the caller
// closes its body.
func (c *client) do(
	ctx context.Context, method, path string, query url.Values, header http.Header, body any,
) (*http.Response, error) {
	target := "https://" + c.address + path + "?" + query.Encode()
	var payload io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode the request to %s: %w", path, err)
		}
		payload = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, target, payload)
	if err != nil {
		return nil, fmt.Errorf("request to %s: %w", c.address, err)
	}
	maps.Copy(request.Header, header)
	request.Header.Set("Authorization", "Bearer "+c.token)
	request.Header.Set("User-Agent", "holdfast/"+version())
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.explain(err)
	}
	if response.StatusCode/100 != 2 {
		defer response.Body.Close()
		return nil, c.refusal(response)
	}
	return response, nil
}

// apiError is the body of an answer that is no success.
type apiError struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// refusal turns an answer that is no success into an error with advice.
func (c *client) refusal(response *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	var said apiError
	if err != nil || json.Unmarshal(text, &said) != nil || said.Error.Message == "" {
		return c.strange(fmt.Errorf("%s answered %s", c.address, response.Status))
	}
	err = errors.New(said.Error.Message)
	switch response.StatusCode {
	case http.StatusUnauthorized:
		return advise(ExitRefused, err, "The collector does not accept this token. %s", tokenAdvice)
	case http.StatusForbidden:
		return advise(ExitRefused, err, "This needs a token of the role admin:\n\n"+
			"  holdfast-collector token create --data-dir DIR --role admin")
	case http.StatusNotFound:
		return advise(ExitNotFound, err, "%s", notFoundAdvice)
	case http.StatusPreconditionFailed:
		return advise(ExitFailure, err, "Somebody changed it in the meantime. Look at what it is now, and do it again.")
	case http.StatusUnprocessableEntity:
		return refusedText(said.Error.Message)
	case http.StatusBadRequest:
		return advise(ExitUsage, err, "See --help of this command.")
	case http.StatusConflict, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return fmt.Errorf("%w (%w)", err, errLater)
	default:
		return err
	}
}

// refusedText is for a text that the collector does not take: what is wrong with it stands on lines of their own.
func refusedText(message string) error {
	first, rest, several := strings.Cut(message, "\n")
	if !several {
		return advise(ExitUsage, errors.New(message), "Nothing was changed.")
	}
	lines := []string{term.Escape(first)}
	for line := range strings.Lines(rest) {
		lines = append(lines, term.Escape(strings.TrimSuffix(line, "\n")))
	}
	return advise(ExitUsage, fmt.Errorf("the collector refuses this for %d reasons; nothing was changed", len(lines)), "%s",
		strings.Join(lines, "\n"))
}

// errLater marks what may work when it is tried again, such as a node whose agent restarts.
var errLater = errors.New("it may work later")

// strange is for whatever a collector would not say.
func (c *client) strange(err error) error {
	return advise(ExitUnreachable, err,
		"This does not look like a Holdfast collector of a version that fits. Check that %s is its --http-listen.", quote(c.address))
}

// explain says what to do about an error on the way to the collector.
func (c *client) explain(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	err = fmt.Errorf("collector %s: %w", c.address, cause(err))
	return advise(ExitUnreachable, err, "%s", c.connectionAdvice(err))
}

// cause takes the request, which holds nothing that the user does not know, off an error of the HTTP client.
func cause(err error) error {
	var whole *url.Error
	if errors.As(err, &whole) {
		return whole.Err
	}
	return err
}

func (c *client) connectionAdvice(err error) string {
	var (
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
		record   tls.RecordHeaderError
		lookup   *net.DNSError
		timeout  net.Error
	)
	switch {
	case errors.As(err, &unknown) && c.ca == "":
		return "No CA of this system signed the collector's certificate. Name the collector's own CA with HOLDFAST_CA or --ca:\n" +
			"it is ca.pem in the collector's --data-dir."
	case errors.As(err, &unknown):
		return fmt.Sprintf("The CA in %s did not sign the collector's certificate: it belongs to another collector, or somebody is\n"+
			"in between. Fetch ca.pem from the --data-dir of this collector.", quote(c.ca))
	case errors.As(err, &hostname):
		return "The collector's certificate is for other names. Connect by one of them, or restart the collector with this one:\n" +
			"\n  holdfast-collector serve --hostname NAME"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "The collector's certificate is out of date, or one of the two clocks is wrong."
	case errors.As(err, &invalid):
		return "The collector's certificate does not hold for a server. Check HOLDFAST_CA and the address."
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return "What listens there does not speak TLS. Check that the address is the collector's --http-listen."
	case errors.As(err, &lookup):
		return "No address is known for this name. Check HOLDFAST_ADDRESS."
	case errors.As(err, &timeout) && timeout.Timeout():
		return "There was no answer in time. Check the address, and firewalls on the way."
	default:
		return "Check that the collector runs, and that the address is its --http-listen."
	}
}
