// SPDX-License-Identifier: Apache-2.0

// Package metrics has tests read what agents and collectors serve in the text format of Prometheus. It keeps nothing, and starts no
// goroutines.
package metrics

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Read asks for metrics and gives the value of each series, by its name and labels as they are written. It is an error if there are none.
func Read(ctx context.Context, client *http.Client, url string) (map[string]float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("ask for metrics: %w", err)
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask for metrics: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	all, err := parse(answer.Body)
	if err == nil && (answer.StatusCode != http.StatusOK || len(all) == 0) {
		err = fmt.Errorf("%d series with status %s", len(all), answer.Status)
	}
	if err != nil {
		return nil, fmt.Errorf("read metrics of %s: %w", url, err)
	}
	return all, nil
}

// parse takes lines of a series, a space, and a value. Values of labels may have spaces too.
func parse(from io.Reader) (map[string]float64, error) {
	all, lines := map[string]float64{}, bufio.NewScanner(from)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		at := max(strings.LastIndexByte(line, ' '), 0)
		value, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		all[line[:at]] = value
	}
	return all, lines.Err()
}
