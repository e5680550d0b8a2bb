// SPDX-License-Identifier: Apache-2.0

package cleanup

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// accountDir is where the kubelet mounts the ServiceAccount of a pod.
	accountDir = "/var/run/secrets/kubernetes.io/serviceaccount"
	// callTimeout bounds one request.
	callTimeout = 10 * time.Second
	// maxAnswer bounds what is read of an answer: the pods of some ten thousand nodes.
	maxAnswer = 256 << 20
	// maxReason bounds what of a refusal is told.
	maxReason = 512
)

// client asks the API server of the cluster that it runs in. It has no state but connections.
type client struct {
	base      url.URL
	tokenFile string
	http      http.Client
}

// inCluster makes a client as a pod has it.
func inCluster() (*client, error) {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, errors.New("find the API server: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: this is for a pod")
	}
	return newClient(net.JoinHostPort(host, port), accountDir)
}

// newClient makes a client of the API server at an address, with a ServiceAccount's folder.
func newClient(address, account string) (*client, error) {
	ca, err := os.ReadFile(filepath.Join(account, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("read the certificate of the API server's authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("read the certificate of the API server's authority: %s holds none", filepath.Join(account, "ca.crt"))
	}
	return &client{
		base:      url.URL{Scheme: "https", Host: address},
		tokenFile: filepath.Join(account, "token"),
		http: http.Client{
			Timeout:   callTimeout,
			Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
		},
	}, nil
}

// get decodes what the API server has at a path. The token is read anew each time, since the kubelet renews it.
func (c *client) get(ctx context.Context, path string, query url.Values, into any) error {
	token, err := os.ReadFile(c.tokenFile)
	if err != nil {
		return fmt.Errorf("read the ServiceAccount's token: %w", err)
	}
	at := c.base
	at.Path, at.RawQuery = path, query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	request.Header.Set("Accept", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		reason, _ := io.ReadAll(io.LimitReader(response.Body, maxReason))
		return fmt.Errorf("the API server answers %s: %q", response.Status, reason)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(into); err != nil {
		return fmt.Errorf("read the API server's answer: %w", err)
	}
	return nil
}
