// SPDX-License-Identifier: Apache-2.0

package review

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/client-go/rest"

	"github.com/holdfast-project/holdfast/collector/authority"
)

const (
	account  = "system:serviceaccount:holdfast-system:holdfast-agent"
	audience = "holdfast-collector"
)

// noon is now.
func noon() time.Time { return time.Unix(1_800_000_000, 0) }

func reviewer(t *testing.T) *Reviewer {
	t.Helper()
	r, err := New(Config{API: &rest.Config{Host: "https://127.0.0.1:1"}, Account: "holdfast-system/holdfast-agent", Audience: audience, Now: noon})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// token is a token with a payload, unsigned.
func token(payload string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln"
}

func TestClaims(t *testing.T) {
	r := reviewer(t)
	const good = `{"sub":"` + account + `","aud":["other","holdfast-collector"],"iat":1799999000,"exp":1800000600}`
	said, err := readClaims(token(good))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.plausible(said); err != nil {
		t.Error(err)
	}
	if !said.issued.Equal(time.Unix(1799999000, 0)) {
		t.Errorf("issued %s", said.issued)
	}
	for _, test := range []struct {
		name, token string
		cause       authority.Cause
	}{
		{"empty", "", authority.CauseMalformed},
		{"a join token", "hfj_a_b_c", authority.CauseMalformed},
		{"two parts", "a.b", authority.CauseMalformed},
		{"no base64", "a.$.c", authority.CauseMalformed},
		{"no JSON", token("holdfast"), authority.CauseMalformed},
		{"another shape", token(`{"aud":{"a":1},"iat":1,"exp":2}`), authority.CauseMalformed},
		{"no end", token(`{"sub":"` + account + `","iat":1799999000}`), authority.CauseMalformed},
		{"an absurd end", token(strings.Replace(good, "1800000600", "1e300", 1)), authority.CauseMalformed},
		{"too long", token(good) + strings.Repeat("x", maxToken), authority.CauseMalformed},
		{"expired", token(strings.Replace(good, "1800000600", "1799999600", 1)), authority.CauseExpired},
		{"another audience", token(strings.Replace(good, "holdfast-collector", "https://kubernetes.default.svc", 1)), authority.CauseAudience},
		{"no audience", token(strings.Replace(good, `"aud"`, `"aux"`, 1)), authority.CauseAudience},
		{"another account", token(strings.Replace(good, "holdfast-agent", "default", 1)), authority.CauseAccount},
		{"a longer account", token(strings.Replace(good, "holdfast-agent", "holdfast-agent2", 1)), authority.CauseAccount},
	} {
		t.Run(test.name, func(t *testing.T) {
			// None of these reaches the API server, which would be away.
			_, err := r.Attest(t.Context(), test.token)
			if authority.CauseOf(err) != test.cause || errors.Is(err, authority.ErrAway) {
				t.Errorf("%v, cause %q, want %q", err, authority.CauseOf(err), test.cause)
			}
		})
	}
	if _, err := r.Attest(t.Context(), token(good)); !errors.Is(err, authority.ErrAway) || authority.CauseOf(err) != "" {
		t.Errorf("with an API server that is away: %v", err)
	}
}

func TestJudge(t *testing.T) {
	r := reviewer(t)
	good := func() authenticationv1.TokenReviewStatus {
		return authenticationv1.TokenReviewStatus{
			Authenticated: true, Audiences: []string{audience},
			User: authenticationv1.UserInfo{Username: account, Extra: map[string]authenticationv1.ExtraValue{
				extraPod: {"holdfast-agent-x"}, extraNode: {"worker-1"},
			}},
		}
	}
	holder, err := r.judge(good())
	if err != nil || holder.Node != "worker-1" || holder.Pod != "holdfast-system/holdfast-agent-x" {
		t.Errorf("%+v %v", holder, err)
	}
	for _, test := range []struct {
		name   string
		change func(*authenticationv1.TokenReviewStatus)
		cause  authority.Cause
		kind   error
		text   string
	}{
		{"not vouched for", func(s *authenticationv1.TokenReviewStatus) { s.Authenticated, s.Error = false, "invalid bearer token" },
			authority.CauseNotVouched, authority.ErrToken, "invalid bearer token"},
		{"audiences unknown to the API server", func(s *authenticationv1.TokenReviewStatus) { s.Audiences = nil },
			authority.CauseAudience, authority.ErrToken, audience},
		{"another audience", func(s *authenticationv1.TokenReviewStatus) { s.Audiences = []string{"x"} },
			authority.CauseAudience, authority.ErrToken, audience},
		{"another account", func(s *authenticationv1.TokenReviewStatus) { s.User.Username = "admin" },
			authority.CauseAccount, authority.ErrDenied, "admin"},
		{"no pod", func(s *authenticationv1.TokenReviewStatus) { delete(s.User.Extra, extraPod) },
			authority.CauseNoPod, authority.ErrDenied, "projected"},
		{"two pods", func(s *authenticationv1.TokenReviewStatus) { s.User.Extra[extraPod] = []string{"a", "b"} },
			authority.CauseNoPod, authority.ErrDenied, "projected"},
		{"no node", func(s *authenticationv1.TokenReviewStatus) { delete(s.User.Extra, extraNode) },
			authority.CauseNoNode, authority.ErrDenied, "ServiceAccountTokenPodNodeInfo"},
	} {
		t.Run(test.name, func(t *testing.T) {
			status := good()
			test.change(&status)
			_, err := r.judge(status)
			if authority.CauseOf(err) != test.cause || !errors.Is(err, test.kind) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("%v, cause %q", err, authority.CauseOf(err))
			}
		})
	}
}

func TestConfigThatMakesNoSense(t *testing.T) {
	for _, bad := range []Config{
		{Account: "holdfast-agent", Audience: audience}, {Account: "/holdfast-agent", Audience: audience},
		{Account: "a/b/c", Audience: audience}, {Account: "Ns/a", Audience: audience}, {Account: "ns/a:b", Audience: audience},
		{Account: "ns/a"},
	} {
		bad.API = &rest.Config{Host: "https://127.0.0.1:1"}
		if _, err := New(bad); err == nil {
			t.Errorf("%q with audience %q is taken", bad.Account, bad.Audience)
		}
	}
}

// FuzzClaims checks that whatever is given is refused or read, and that nothing else happens.
func FuzzClaims(f *testing.F) {
	f.Add(token(`{"sub":"a","aud":"b","iat":1,"exp":2}`))
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, text string) {
		said, err := readClaims(text)
		if err == nil && (said.issued.IsZero() || said.expires.IsZero() || said.issued.Year() > 9999) {
			t.Errorf("%+v", said)
		}
		if err != nil && authority.CauseOf(err) != authority.CauseMalformed {
			t.Error(err)
		}
	})
}
