module example.org/partner

go 1.26.0
