package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// signIn gets the front's session cookies: none where nobody asks for one. There, the same number of bytes is sent as
// a cookie, so that everybody reads the same requests.
func (s *stage) signIn(ctx context.Context, f *front) error {
	switch f.name {
	case authkit:
		for _, name := range s.people() {
			cookie, err := postForm(ctx, f.address+"/auth/login", "", url.Values{"username": {name}, "password": {password}}, "dagster_authkit")
			if err != nil {
				return err
			}
			f.cookies = append(f.cookies, cookie)
		}
	case python:
		cookie, err := signInPython(ctx, f.address)
		if err != nil {
			return err
		}
		f.cookies = []string{cookie}
	default:
		f.cookies = []string{"dagster_authkit=" + strings.Repeat("x", 100)}
	}
	return nil
}

// signInPython takes the token of the form along.
func signInPython(ctx context.Context, address string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/auth/login", nil)
	if err != nil {
		return "", err
	}
	resp, err := plainClient().Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close() //nolint:errcheck // Read only.
	token, err := findCookie(resp, "csrf_token")
	if err != nil {
		return "", err
	}
	form := url.Values{"username": {accountName}, "password": {password}, "csrf_token": {token.Value}, "next": {"/"}}
	return postForm(ctx, address+"/auth/process", token.Name+"="+token.Value, form, "dagster_session")
}

// postForm sends a sign-in form and takes the session cookie from the answer.
func postForm(ctx context.Context, address, cookie string, form url.Values, session string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if cookie != "" {
		req.Header.Set("Cookie", cookie)
	}
	resp, err := plainClient().Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close() //nolint:errcheck // Read only.
	found, err := findCookie(resp, session)
	if err != nil {
		return "", err
	}
	return found.Name + "=" + found.Value, nil
}

func findCookie(resp *http.Response, name string) (*http.Cookie, error) {
	for _, cookie := range resp.Cookies() {
		if strings.HasSuffix(cookie.Name, name) && cookie.Value != "" {
			return cookie, nil
		}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1000))
	return nil, errors.Join(fmt.Errorf("%s answered %s without the cookie %s: %s", resp.Request.URL, resp.Status, name, body), err)
}

// plainClient does not follow redirects and does not unpack answers.
func plainClient() *http.Client {
	return &http.Client{
		Timeout:       time.Minute,
		Transport:     &http.Transport{DisableCompression: true, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
