// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// customers use a web service as it is meant to be used, all the time, and count what they get.
type customers struct {
	client *http.Client
	shop   string

	mu       sync.Mutex
	answered int
	// failed are the first answers that were not what they should be; there are failures of them.
	failed   []string
	failures int
}

// visit goes through the shop again and again until the context ends.
func (c *customers) visit(ctx context.Context) {
	for i := 1; ctx.Err() == nil; i++ {
		for _, v := range []struct{ method, path, body, want string }{
			{http.MethodGet, "/", "", "Web shop"},
			{http.MethodGet, fmt.Sprintf("/track?parcel=%d", 1000+i), "", fmt.Sprintf("On its way: %d", 1000+i)},
			{http.MethodPost, "/invoice", fmt.Sprintf("item %d\nitem 250\ntotal\n", i), "Total: "},
			{http.MethodPost, fmt.Sprintf("/order?card=%d&article=%d", 4000+i, i), "", "Thank you"},
		} {
			text, err := ask(ctx, c.client, v.method, "http://"+c.shop+v.path, v.body)
			if ctx.Err() != nil {
				return
			}
			c.note(v.path, text, v.want, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (c *customers) note(path, text, want string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && strings.Contains(text, want) {
		c.answered++
		return
	}
	c.failures++
	if len(c.failed) < 5 {
		c.failed = append(c.failed, fmt.Sprintf("%s: %.200q (%v)", path, text, err))
	}
}

// result is how many requests were answered as they should be, and an error that names those that were not.
func (c *customers) result() (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failures == 0 {
		return c.answered, nil
	}
	return c.answered, fmt.Errorf("%d of %d requests of customers went wrong: %s", c.failures, c.answered+c.failures, strings.Join(c.failed, "; "))
}
