package simulator

// appendItems appends records with commas between them. In pre-rendered mode
// those that were never changed are copied from their template: only their ids
// are put in.
func (st *store) appendItems(b []byte, p *plan, items []item) []byte {
	for i, it := range items {
		if i > 0 {
			b = append(b, ',')
		}
		if st.preRendered && it.pristine() {
			b = append(appendHead(b, it.rec.id), p.tail(it)...)
			continue
		}
		b = p.appendItem(b, it)
	}
	return b
}

// pristine says whether a record is as its template.
func (it item) pristine() bool {
	return it.rec.seed < templates && it.ver.first && it.goneAt == 0
}

// tail is the record's template as this plan shows it.
func (p *plan) tail(it item) []byte {
	p.mu.RLock()
	t := p.tails[it.rec.seed]
	p.mu.RUnlock()
	if t == nil {
		t = p.appendTail(nil, it)
		p.mu.Lock()
		p.tails[it.rec.seed] = t
		p.mu.Unlock()
	}
	return t
}
