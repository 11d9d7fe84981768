// Package audit keeps what happened: each Event becomes a row of the database, which is the record, and a line of JSON
// on stdout, which is for those who collect logs. A row that can't be stored is an error; a line that can't be written
// is dropped and counted, because nobody's request may wait for whoever reads stdout.
package audit
