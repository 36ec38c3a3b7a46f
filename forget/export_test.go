package forget

// BoundedIn is for tests.
var BoundedIn = boundedIn
