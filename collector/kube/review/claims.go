// SPDX-License-Identifier: Apache-2.0

package review

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/collector/authority"
)

// claims is what a token says of itself (RFC 7519). Nobody has vouched for it.
type claims struct {
	subject         string
	audiences       []string
	issued, expires time.Time
}

const (
	// maxToken is the longest token that is looked at, in bytes.
	maxToken = 16 << 10
	// leeway is by how much this clock may be ahead of the API server's.
	leeway = 5 * time.Minute
	// latest is the last second that a token may name: the year 9999.
	latest = 253402300799
)

// readClaims reads what a token says of itself. The error is a refusal.
func readClaims(token string) (claims, error) {
	malformed := func(what string) (claims, error) {
		return claims{}, authority.Refuse(authority.CauseMalformed, "what was given is no ServiceAccount token: %s: %w", what, authority.ErrToken)
	}
	if len(token) > maxToken {
		return malformed("too long")
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return malformed("not of three parts")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return malformed("the middle part is not base64")
	}
	var said struct {
		Subject  string      `json:"sub"`
		Audience audienceSet `json:"aud"`
		Issued   float64     `json:"iat"`
		Expires  float64     `json:"exp"`
	}
	if err := json.Unmarshal(payload, &said); err != nil {
		return malformed("the middle part is not the JSON of one")
	}
	// Tokens without an end, as Kubernetes made them once, name no audience and no node either.
	for _, second := range []float64{said.Issued, said.Expires} {
		if second <= 0 || second > latest {
			return malformed("it does not say when it was made and when it ends")
		}
	}
	return claims{
		subject: said.Subject, audiences: said.Audience, issued: time.Unix(int64(said.Issued), 0), expires: time.Unix(int64(said.Expires), 0),
	}, nil
}

// audienceSet is one audience or a list of them.
type audienceSet []string

// UnmarshalJSON is json.Unmarshaler.UnmarshalJSON.
func (a *audienceSet) UnmarshalJSON(text []byte) error {
	var single string
	if json.Unmarshal(text, &single) == nil {
		*a = audienceSet{single}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(a))
}

// plausible refuses a token that, by what it says of itself, the API server cannot vouch for as one that is taken here.
func (r *Reviewer) plausible(said claims) error {
	switch {
	case r.now().After(said.expires.Add(leeway)):
		return authority.Refuse(authority.CauseExpired, "the ServiceAccount token expired at %s: %w", said.expires.UTC().Format(time.RFC3339), authority.ErrToken)
	case !slices.Contains(said.audiences, r.audience):
		return authority.Refuse(authority.CauseAudience, "the ServiceAccount token is not for the audience %q, but for %.300q: %w", r.audience, said.audiences, authority.ErrToken)
	case said.subject != r.user:
		return authority.Refuse(authority.CauseAccount, "the ServiceAccount token is of %.300q, not of %q: %w", said.subject, r.user, authority.ErrDenied)
	}
	return nil
}
