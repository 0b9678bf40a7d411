package destination

import "slices"

// personalIDs are objects whose records' ids are made of what is personal, with
// the property that has it. A form submission's ends in a hash of the answers,
// which anybody could make of answers that they guess.
func personalIDs() map[string]string {
	return map[string]string{"form_submissions": "values", "subscription_changes": "recipient", "subscription_statuses": "subscriberIdString"}
}

// everywhere is the key of what is personal in every object.
const everywhere = "*"

// personal are patterns of the properties that pii means, besides those that
// HubSpot calls sensitive: by object, everywhere for all of them.
// docs/DESTINATIONS.md has them, too.
func personal() map[string][]string {
	return map[string][]string{
		everywhere: {"email", "*_email", "firstname", "lastname", "firstName", "lastName", "first_name", "last_name", "full_name",
			"phone", "phone_number", "mobilephone", "mobile_phone", "fax", "address", "address2", "street_address", "zip", "ip_*", "ip", "ipAddress"},
		"contacts": {"hs_additional_emails", "hs_full_name_or_email", "salutation", "hs_whatsapp_phone_number", "hs_calculated_phone_number*",
			"hs_calculated_mobile_number", "hs_searchable_calculated_*", "city", "date_of_birth", "gender", "marital_status", "military_status",
			"relationship_status", "message", "photo", "hs_avatar_filemanager_key", "twitter*", "linkedin*", "hs_linkedin*", "hs_twitterid",
			"hs_facebookid", "hs_googleplusid", "hs_facebook_click_id", "hs_google_click_id", "hs_content_membership_notes",
			"hs_analytics_first_url", "hs_analytics_last_url", "hs_analytics_first_referrer", "hs_analytics_last_referrer"},
		"companies":                    {"owneremail", "ownername", "hs_linkedin_handle"},
		"leads":                        {"hs_lead_name", "hs_associated_contact_*"},
		"tickets":                      {"content", "hs_form_*"},
		"users":                        {"hs_given_name", "hs_family_name", "hs_searchable_*", "hs_main_phone", "hs_additional_phone"},
		"calls":                        {"hs_call_body", "hs_call_title", "hs_call_summary", "hs_call_from_number", "hs_call_to_number", "hs_call_recording_url", "hs_call_video_recording_url", "hs_body_preview*"},
		"meetings":                     {"hs_meeting_title", "hs_meeting_body", "hs_meeting_location", "hs_meeting_external_url", "hs_internal_meeting_notes", "hs_guest_emails", "hs_body_preview*"},
		"notes":                        {"hs_note_body", "hs_body_preview*"},
		"tasks":                        {"hs_task_subject", "hs_task_body", "hs_body_preview*"},
		"emails":                       {"hs_email_from*", "hs_email_to*", "hs_email_cc*", "hs_email_bcc*", "hs_email_sender*", "hs_email_headers", "hs_email_subject", "hs_email_text", "hs_email_html", "hs_email_logged_from", "hs_body_preview*"},
		"communications":               {"hs_communication_body", "hs_body_preview*"},
		"postal_mail":                  {"hs_postal_mail_body", "hs_body_preview*"},
		"feedback_submissions":         {"hs_contact_*", "hs_content", "hs_submission_name"},
		"quotes":                       {"hs_sender_*", "hs_contact_*"},
		"orders":                       {"hs_billing_address_*", "hs_shipping_address_*"},
		"carts":                        {"hs_billing_address_*", "hs_shipping_address_*"},
		"invoices":                     {"hs_recipient_*", "hs_billing_address_*", "hs_shipping_address_*"},
		"payments":                     {"hs_customer_*", "hs_billing_address_*", "hs_shipping_address_*"},
		"subscriptions":                {"hs_contact_*", "hs_billing_address_*", "hs_shipping_address_*"},
		"appointments":                 {"hs_appointment_name"},
		"form_submissions":             {"values", "pageUrl"},
		"email_events":                 {"recipient", "from", "cc", "bcc", "replyTo", "subject", "location", "userAgent", "browser", "url", "referer", "response", "dropMessage", "requestedBy"},
		"subscription_changes":         {"recipient"},
		"subscription_statuses":        {"subscriberIdString"},
		"marketing_event_participants": {"associations", "properties"},
		"conversation_threads":         {"latestMessageText"},
		"conversation_messages":        {"text", "richText", "subject", "senders", "recipients", "attachments", "createdBy"},
		"events":                       {"properties"},
	}
}

func isPersonal(object, property string) bool {
	of := personal()
	is := func(p string) bool { return matches(p, "", property) }
	return slices.ContainsFunc(of[everywhere], is) || slices.ContainsFunc(of[object], is)
}
