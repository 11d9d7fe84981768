package proxy

import "time"

// calm is how long no new file must have come before any is compressed. A browser that opens Dagster for the first time since
// it started loads its scripts one after the other, and runs them on the same cores where that is one machine: with the
// compression beside it, it was measured to take a second longer to draw the page.
const calm = time.Second

// squeeze adds the compressed forms to the files that wait, until none does.
func (s *Static) squeeze() {
	for {
		s.mu.Lock()
		if wait := time.Until(s.last.Add(calm)); wait > 0 {
			s.mu.Unlock()
			time.Sleep(wait)
			continue
		}
		if len(s.plain) == 0 {
			s.squeezes = false
			s.mu.Unlock()
			return
		}
		f := s.plain[0]
		s.plain = s.plain[1:]
		s.mu.Unlock()
		s.pack(f)
	}
}

// pack makes the forms that take longest last. A file that is kept no more is left alone.
func (s *Static) pack(f *file) {
	for _, coding := range codings {
		if !s.keeps(f) {
			return
		}
		packed, err := coding.pack(f.plain)
		if err != nil {
			s.log.Warn().Err(err).Str("path", f.path).Msg("compressing a static file failed")
			return
		}
		s.mu.Lock()
		if element := s.files[f.path]; element != nil && element.Value == f && len(packed) < len(f.plain) {
			f.packed[coding.name] = packed
			s.kept += int64(len(packed))
			s.shrink()
		}
		s.mu.Unlock()
	}
}

func (s *Static) keeps(f *file) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	element := s.files[f.path]
	return element != nil && element.Value == f
}
